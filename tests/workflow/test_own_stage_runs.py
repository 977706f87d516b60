"""Runs of the user's stages: functions, commands, merges and sections; what goes wrong in them is said with their name, and the rest goes on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hist
import numpy as np
import pytest
from uhi.io.json import object_hook

from needle_parsl import files, rundir
from needle_parsl.workflow import ledger

ANALYSIS = """
name = "own"
physics = "physics.py"

[stages.fill]
function = "physics.py:fill"
over = { file = "raw/*.txt", scale = [1.0, 2.0] }
params = { bins = 10 }
outputs = { spectrum = "hist" }
merge = "sum"

[stages.words]
command = "wc -w < {file} > {number}"
over = { file = "raw/*.txt" }
outputs = { number = ".txt" }

[stages.numbers]
function = "physics.py:numbers"
over = { file = "raw/*.txt" }
after = ["words"]
outputs = { numbers = "arrays", events = "rntuple" }

[stages.all]
function = "physics.py:whole"
after = ["fill", "numbers"]
outputs = { table = "json", page = "section" }
"""
PHYSICS = """
import os
import hist
import numpy as np
from matplotlib.figure import Figure
from needle_parsl.nsbi.report.sections import Section, SectionFigure, SectionTable, check


def fill(file, scale, bins):
    made = hist.Hist(hist.axis.Regular(bins, 0, 100, name="x"), storage=hist.storage.Weight())
    x = np.loadtxt(file)
    return made.fill(scale * x, weight=np.exp(-x / 7))


def numbers(file, words, events):
    import uproot

    x = np.loadtxt(file)
    with uproot.recreate(events) as made:
        made.mkrntuple("jets", {"x": x})
    return {"words": np.array([int(open(words).read())]), "x": x}


def whole(fill, numbers):
    words = {name: int(one["numbers"]["words"][0]) for name, one in numbers.items()}
    events = sum(len(one["events"].x) for one in numbers.values())
    figure = Figure()
    figure.subplots().stairs(fill.values(), fill.axes[0].edges)
    page = Section(
        "Spectrum of <all>",
        tables=(SectionTable(("file", "words"), tuple(words.items())),),
        figures=(SectionFigure.of(figure, "the spectrum"),),
        checks=(check(events, 1, 0, "Enough events."), check(events, 10, 1000, "More events than are usual.")),
    )
    return {"table": {"words": words, "events": events, "sum": fill.sum(flow=True).value}, "page": page}
"""


@pytest.fixture
def analysis(tmp_path: Path) -> Path:
    folder = tmp_path / "a folder with 'quotes' and $HOME"
    (folder / "raw").mkdir(parents=True)
    for k in range(4):
        np.savetxt(folder / "raw" / f"part {k}.txt", np.random.default_rng(k).exponential(20, 30 + k))
    (folder / "analysis.toml").write_text(ANALYSIS)
    (folder / "physics.py").write_text(PHYSICS)
    return folder


def test_stages_run_are_reported_and_not_done_again(analysis: Path, needle: Callable[..., Any], tmp_path: Path) -> None:
    root = tmp_path / "run"
    ended = needle("run", analysis, "--out", root, "--json")
    assert ended.code == 0, ended
    assert ended.json()["done"] == 8 + 1 + 4 + 4 + 1 + 1
    assert ended.json()["results"]["checks"] == {"Spectrum of <all>": "warning"}
    table = files.read_json(root / "stages" / "all" / "all" / "table.json")
    assert table["words"] == {f"part_{k}": 30 + k for k in range(4)}
    assert table["events"] == sum(30 + k for k in range(4))
    x = np.concatenate([np.loadtxt(path) for path in sorted((analysis / "raw").iterdir())])
    assert table["sum"] == pytest.approx(2 * np.exp(-x / 7).sum(), rel=1e-12)
    text = (root / "stages" / "fill" / "merged" / "spectrum.json").read_text()
    merged = hist.Hist(json.loads(text, object_hook=object_hook))
    expected = [np.histogram(scale * x, merged.axes[0].edges, weights=np.exp(-x / 7))[0] for scale in (1, 2)]
    np.testing.assert_allclose(merged.values(), sum(expected), rtol=1e-9)
    page = (root / "report" / "index.html").read_text()
    assert "Spectrum of &lt;all&gt;</h2>" in page
    assert "More events than are usual." in page
    assert (root / "report" / "section-1-1.pdf").read_bytes().startswith(b"%PDF")
    again = needle("run", analysis, "--out", root, "--json")
    assert (again.json()["done"], again.json()["reused"]) == (0, 19)
    (analysis / "physics.py").write_text(PHYSICS.replace("Spectrum of <all>", "Spectra of all"))
    changed = needle("run", analysis, "--out", root, "--force", "--json").json()
    assert (changed["done"], changed["reused"]) == (2, 17)  # the section and the report: nothing else calls `whole`
    assert needle("report", root).out.startswith("quote with care: 1 of 1 checks give a warning")
    assert "fill" in needle("status", root).out
    assert needle("plan", analysis, "--out", root, "--json").json()["own"] == ["fill", "words", "numbers", "all"]


@pytest.mark.parametrize("site", [pytest.param("local", marks=pytest.mark.campaign), "local-htex"])
def test_results_do_not_depend_on_the_workers(
    analysis: Path, needle: Callable[..., Any], tmp_path: Path, site: str
) -> None:
    made = []
    for name in ("one", "two"):
        ended = needle(
            "run", analysis, "--site", site if name == "two" else "local", "--out", tmp_path / name, "--json"
        )
        assert ended.code == 0, ended
        made.append(
            {
                path.relative_to(tmp_path / name): files.digest(path)
                for path in sorted((tmp_path / name / "stages").rglob("*.json"))
            }
        )
    assert made[0] == made[1]


WRONG = """
name = "own"
physics = "physics.py"
"""
FAULTS = {
    "nothing": ("def f():\n    return None", "", 'physics.py:f_nothing, output "result": found nothing, expected numbers'),
    "other": ("def f():\n    return object()", "", "found a value of the type object, expected numbers"),
    "raises": ("def f():\n    raise ValueError('the sum is negative')", "", "physics.py:f_raises: ValueError: the sum is negative"),
    "one_of_two": ("def f():\n    return {'a': 1}", 'outputs = { a = "json", b = "json" }', 'found a table of a, expected a table with the outputs "a", "b"'),
    "own_file": ("def f(result):\n    pass", 'outputs = { result = ".csv" }', 'output "result": was not written; write it to the path that is given'),
    "own_format": ("def f(result):\n    open(result, 'w').write('text')", 'outputs = { result = "root" }', "is no file of the format root"),
    "unasked": ("def f():\n    return 3", 'outputs = { result = ".csv" }', "is written by the function itself; give it a parameter of that name"),
    "section": ("def f():\n    return Section('t', tables=(SectionTable(('a',), ((1, 2),)),))", 'outputs = { p = "section" }', "row 1 of a table has 2 cells for 1 columns"),
    "exits": ("def f():\n    raise SystemExit(3)", "", "the user's code ended"),
    "killed": ("def f():\n    os.kill(os.getpid(), 9)", "", "the process of the user's code was killed by signal 9"),
    "slow": ("def f():\n    time.sleep(60)", 'limit = "1s"', "longer than 1 s, as stages.slow.limit allows"),
    "order": ("def f(k):\n    return {'x': [k]}\ndef m(found):\n    return {'x': [one['x'][0] for one in found]}",
              'over = { k = [1, 2, 3] }\nmerge = "physics.py:m_order"', 'merge = "physics.py:m_order": the output "result" depends on the order of what is merged'),
    "name": ("def f(name, function):\n    raise ValueError(f'{name}\\n{function}')", "params = { name = 'a', function = 'b' }", "physics.py:f_name: ValueError: a b"),
    "judged": ("def f():\n    return Section('t', checks=(SectionCheck(1.0, 'great', 's'),))", 'outputs = { p = "section" }', "a check has the state 'great'"),
    "units": ("def f(k):\n    return {'unit': k}", 'over = { k = ["GeV", "MeV"] }\nmerge = "sum"', "result.unit: cannot be added"),
}  # fmt: skip
COMMANDS = {
    "fails": ("echo one; echo 'no such tree: nominal' >&2; exit 3; # {result}", "no such tree: nominal"),
    "silent": ("exit 4; # {result}", "exit code 4"),
    "writes_nothing": ("true {result}", 'output "result": was not written'),
    "takes_long": ("sleep 60; touch {result}", "as stages.takes_long.limit allows"),
    "pipe": ("false | cat > {result}", "exit code 1"),
    "lines": ("false\necho hi > {result}", "exit code 1"),
    "long_error": (
        "echo 'KeyInFileError: not found' >&2; echo 'in file /a/b.root' >&2; exit 1; # {result}",
        "KeyInFileError: not found in file /a/b.root",
    ),
    "link": ("ln -s /etc/hostname {result}", 'output "result": is a link; write the file itself'),
}


def test_what_goes_wrong_is_said_and_the_rest_is_done(needle: Callable[..., Any], tmp_path: Path) -> None:
    code = "import os, time\nfrom needle_parsl.nsbi.report.sections import Section, SectionCheck, SectionTable\n"
    text = WRONG
    for name, (source, keys, _) in FAULTS.items():
        code += source.replace("def f(", f"def f_{name}(").replace("def m(", f"def m_{name}(") + "\n"
        text += f'[stages.{name}]\nfunction = "physics.py:f_{name}"\n{keys}\n'
    for name, (line, _) in COMMANDS.items():
        limit = 'limit = "1s"\n' if name == "takes_long" else ""
        text += f"[stages.{name}]\ncommand = '''{line}'''\noutputs = {{ result = \".txt\" }}\n{limit}"
    for name in ("fails", "silent"):  # commands and functions that never start
        text += f"[stages.after_{name}]\ncommand = 'cat {{{name}}} > {{r}}'\nafter = ['{name}']\noutputs = {{ r = '.txt' }}\n"
        text += f"[stages.last_{name}]\nfunction = 'physics.py:good'\nafter = ['after_{name}']\n"
    text += "[stages.quick]\ncommand = 'sleep 0.3; echo r > {r}; echo s > {s}; touch -d 2001-01-01 {s}'\noutputs = { r = '.txt', s = '.txt' }\n"
    text += '[stages.good]\nfunction = "physics.py:good"\n'
    code += "def good():\n    return 1\n"
    (tmp_path / "analysis.toml").write_text(text)
    (tmp_path / "physics.py").write_text(code)
    ended = needle("run", tmp_path, "--json")
    assert ended.code == 2, ended
    failed = {one["stage"]: one["reason"] for one in ended.json()["failed"]}
    for name, (*_, words) in {**FAULTS, **COMMANDS}.items():
        assert words in failed.pop(name, ""), name
    assert not failed
    root = tmp_path / "runs" / "own"
    assert files.read_json(root / "stages" / "good" / "all" / "result.json") == 1
    done = {record.stage: record.seconds for record in ledger.lines(root) if not record.reason}
    assert {"good", "quick"} <= done.keys()
    assert 0.3 <= done["quick"] < 3  # the others take longer
    assert not list((root / "stages" / "quick").rglob(".*"))
    rundir.sweep(root)  # as the next run does first: a program that has failed leaves what it has written
    assert not [path for path in (root / "stages").rglob("*") if path.name.endswith(".tmp")]


def test_a_module_that_is_imported_late_is_warned_of(needle: Callable[..., Any], tmp_path: Path) -> None:
    stages = "".join(f'[stages.{name}]\nfunction = "physics.py:{name}"\n' for name in "ab")
    (tmp_path / "analysis.toml").write_text(WRONG + stages)
    code = "import early\n\ndef a():\n    import late\n    return late.K\n\ndef b():\n    return early.K\n"
    (tmp_path / "physics.py").write_text(code)
    for name in ("early", "late"):
        (tmp_path / f"{name}.py").write_text(f"K = 1  # {name}\n")
    ended = needle("run", tmp_path, "--json")
    assert ended.code == 0, ended
    assert {"late.py" in said and "import it at the top" in said for said in ended.json()["warnings"]} == {True}
    (tmp_path / "early.py").write_text("K = 2\n")
    assert needle("run", tmp_path, "--json").json()["done"] == 1  # `b` alone
    assert files.read_json(tmp_path / "runs" / "own" / "stages" / "b" / "all" / "result.json") == 2


def test_what_is_written_elsewhere_is_warned_of(needle: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "analysis.toml").write_text(WRONG + '[stages.a]\nfunction = "physics.py:f"\n')
    (tmp_path / "physics.py").write_text(
        f"def f():\n    open('{tmp_path}/elsewhere.txt', 'w').write('x')\n    return 1\n"
    )
    ended = needle("run", tmp_path, "--out", tmp_path / "run", "--json", env={"TMPDIR": "/var/tmp"})
    assert ended.code == 0, ended
    (said,) = ended.json()["warnings"]
    assert f"wrote outside of its output: {tmp_path}/elsewhere.txt" in said


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (('params = { bins = 10 }', 'params = { bin = 10 }'), ['stages.fill.function: "physics.py:fill" needs "bins", which nothing gives; did you mean "bin"?',
                                                               'stages.fill.params.bin: is no argument of "physics.py:fill"; did you mean "bins"?']),
        (('physics.py:fill"', 'physics.py:fil"'), ['stages.fill.function: physics.py has no "fil"; did you mean "fill"?']),
        (('raw/*.txt", scale', 'row/*.txt", scale'), ['stages.fill.over.file: "row/*.txt": no file matches']),
        (('scale = [1.0, 2.0]', 'scale = []'), ["stages.fill.over.scale: is an empty list, so that nothing would run; name its members, or leave it out"]),
        (('scale = [1.0, 2.0]', 'scale = [1.0, 1.0]'), ['stages.fill.over.scale: "1.0" stands there more than once']),
        (('scale = [1.0, 2.0]', 'scale = "smaples"'), ['stages.fill.over.scale: "smaples" is no list of the analysis, and no pattern of files; did you mean "samples"?']),
        (('merge = "sum"', 'merge = "summ"'), ['stages.fill.merge: "summ" is neither a function nor a merge of needle\'s; did you mean "sum"?']),
        (('merge = "sum"', 'merge = "concatenate"'), ['stages.fill.merge: "concatenate" takes arrays, table, and "spectrum" is hist; name a function that merges']),
        (('spectrum = "hist"', 'spectrum = "hits"'), ['stages.fill.outputs.spectrum: "hits" is no format, and an ending of a file of your own begins with "."; did you mean "hist"?',
                                                      'stages.fill.merge: "sum" takes json, arrays, hist, and "spectrum" is hits; name a function that merges']),
        (('{number}"\nover', '{nmber}"\nover'), ['stages.words.command: {nmber} stands for nothing; did you mean "number"?',
                                                 "stages.words.command: does not say where {number} goes, its output; write the placeholder where the program takes the file's name"]),
        (('after = ["words"]', 'after = ["wrods"]'), ['stages.numbers.after: "wrods" is no stage; did you mean "words"?']),
        (('after = ["words"]', 'after = ["all"]'), ["stages.numbers.after: goes round in a circle: numbers after all after numbers"]),
        (('params = { bins = 10 }', 'params = { bins = 10, day = 2020-01-01, z = "a\\u0000" }'),
         ["stages.fill.params.day: found date 2020-01-01, expected a text or a number; put it in quotes",
          "stages.fill.params.z: holds a null character, which no command line can"]),
        (('scale = [1.0, 2.0]', 'scale = [{name = "a", bins = 2}]'), ['stages.fill.params: "bins" is the name of another argument, too; choose another name']),
        (('scale = [1.0, 2.0]', 'scale = ["1", 1]'), ['stages.fill.over.scale: "1" stands there more than once']),
        (('scale = [1.0, 2.0]', 'scale = "files"'), ["stages.fill.over.scale: is an empty list, so that nothing would run; name its members, or leave it out"]),
        (('< {file} >', '< \\"{file}\\" >'), ["stages.words.command: {file} stands within quotes, and is quoted already; take the quotes away"]),
        (('{file} > {number}"\nover = { file = "raw/*.txt" }', '{file} {size} > {number}"\nover = { file = "raw/*.txt", w = [{name = "a", size = 1}, {name = "b"}] }'),
         ["stages.words.command: {size} stands for nothing for b; give each member of the list this field"]),
        (('over = { file = "raw/*.txt", scale = [1.0, 2.0] }', 'over = { file = "raw/*.txt", scale = [1.0, 2.0], colour = ["a", "b"] }'),
         ['stages.fill.over.colour: "physics.py:fill" takes nothing of it, so that the merge would count every call several times; leave it out, or take it']),
        (('outputs = { number = ".txt" }', 'outputs = { number = ".txt", log = ".log" }\n[stages.later]\ncommand = "cat {words} > {r}"\nafter = ["words"]\noutputs = { r = ".txt" }'),
         ["stages.words.command: does not say where {log} goes, its output; write the placeholder where the program takes the file's name",
          "stages.later.command: {words} has 2 outputs; write {words.number} or {words.log}"]),
        (('command = "', 'function = "physics.py:fill"\ncommand = "'), ["stages.words: has function and command; leave all but one out"]),
    ],
)  # fmt: skip
def test_mistakes_are_found_before_anything_runs(
    analysis: Path, inside: Callable[..., Any], change: tuple[str, str], said: list[str]
) -> None:
    text = (analysis / "analysis.toml").read_text()
    assert change[0] in text
    (analysis / "analysis.toml").write_text(text.replace(*change, 1))
    ended = inside("check", analysis)
    assert ended.code == 2, ended
    assert [line.partition(": ")[2] for line in ended.err.splitlines()] == said
