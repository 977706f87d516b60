"""The user's stages in a plan: what is called for which members, with which outputs of earlier stages, and what is one task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from needle_parsl import plan
from needle_parsl.analysis import Loaded, read
from needle_parsl.errors import InputError
from needle_parsl.plan import specs, stage_items, stage_rules

HEAD = 'name = "own"\nphysics = "physics.py"\n'
FILES = tuple(plan.File(path=f"/raw/{name}.root", digest=name) for name in ("a", "b", "c"))
CHAIN = """
[stages.select]
function = "physics.py:select"
over = { file = "raw/*.root", variation = [
  { name = "nominal", tree = "nominal" }, { name = "jes_up", tree = "jes" }, { name = "pdf_1", tree = "nominal", weight = 1 },
  { name = "pdf_2", tree = "nominal", weight = 2 } ] }
outputs = { events = "table" }
[stages.fill]
function = "physics.py:fill"
over = { file = "raw/*.root", variation = ["nominal", "jes_up", "pdf_1", "pdf_2"] }
after = ["select"]
outputs = { spectrum = "hist" }
[stages.total]
function = "physics.py:total"
over = { variation = ["nominal", "jes_up", "pdf_1", "pdf_2"] }
after = ["fill"]
[stages.table]
function = "physics.py:table"
after = ["total"]
outputs = { page = "section" }
"""
TAKES = {"select": ("file", "tree"), "fill": ("select", "variation"), "total": ("fill",), "table": ("total",)}


def loaded(folder: Path, text: str) -> Loaded:
    (folder / "analysis.toml").write_text(HEAD + text)
    (folder / "physics.py").write_text("")
    return read(folder)


def built(
    folder: Path, text: str, takes: Mapping[str, tuple[str, ...] | None] | None = None, files: object = FILES
) -> plan.Plan:
    analysis = loaded(folder, text).analysis
    return plan.build(analysis, inputs(takes or TAKES, files), 1)


def inputs(takes: Mapping[str, tuple[str, ...] | None], files: object = FILES) -> plan.Inputs:
    physics = plan.Physics("source", "physics.py")
    own = plan.StageInputs(
        takes=takes, files={"raw/*.root": files}, physics=physics, functions={}, resources={}, folder="/a"
    )  # type: ignore[dict-item]
    return plan.Inputs(files={}, physics=physics, exact=False, stages=own)


def test_calls_with_equal_content_are_one_task(tmp_path: Path) -> None:
    made = built(tmp_path, CHAIN)
    # Weights do not reach `select`: three variations read the same tree. `fill` gets the name of the variation, and is called for each.
    assert made.stages() == {"select": 3 * 2, "fill": 3 * 4, "total": 4, "table": 1, "report": 1}
    assert made.shared == 3 * 2
    assert [task.name for task in made.tasks if task.stage.name == "select"] == [
        "a-nominal",
        "a-jes_up",
        "b-nominal",
        "b-jes_up",
        "c-nominal",
        "c-jes_up",
    ]


def test_outputs_are_aligned_by_lists_of_the_same_name(tmp_path: Path) -> None:
    tasks = {(task.stage.name, task.name): task for task in built(tmp_path, CHAIN).tasks}
    select, fill = tasks["fill", "b-pdf_2"].of(specs.OwnCall).before, tasks["total", "jes_up"].of(specs.OwnCall).before
    assert [(one.argument, one.items, one.places) for one in select] == [("select", (), ("stages/select/b-nominal",))]
    assert fill[0].items == ("a", "b", "c")
    assert fill[0].places == tuple(f"stages/fill/{name}-jes_up" for name in "abc")
    assert tasks["table", "all"].of(specs.OwnCall).before[0].items == ("nominal", "jes_up", "pdf_1", "pdf_2")


def test_sections_stand_in_the_report(tmp_path: Path) -> None:
    report = next(task for task in built(tmp_path, CHAIN).tasks if task.stage.name == "report")
    assert report.of(specs.StagesReport).sections == ("stages/table/all/page.json",)


def test_a_function_that_takes_anything_gets_everything(tmp_path: Path) -> None:
    made = built(tmp_path, CHAIN, {**TAKES, "select": None})
    assert made.stages()["select"] == 3 * 4
    given = dict(made.tasks[3].of(specs.OwnCall).given)
    assert given["weight"] == 2
    assert given["tree"] == "nominal"
    assert given["variation"] == {"name": "pdf_2", "tree": "nominal", "weight": 2}


def changed(before: plan.Plan, after: plan.Plan) -> set[tuple[str, str]]:
    known = {task.key for task in before.tasks}
    return {(task.stage.name, task.name) for task in after.tasks if task.key not in known}


def test_a_changed_file_redoes_what_is_made_from_it(tmp_path: Path) -> None:
    files = (FILES[0], replace(FILES[1], digest="new"), FILES[2])
    found = changed(built(tmp_path, CHAIN), built(tmp_path, CHAIN, files=files))
    assert {name for stage, name in found if stage == "select"} == {"b-nominal", "b-jes_up"}
    assert {name.partition("-")[0] for stage, name in found if stage == "fill"} == {"b"}
    moved = tuple(replace(file, path=file.path.replace("/raw", "/elsewhere")) for file in FILES)
    assert not changed(built(tmp_path, CHAIN), built(tmp_path, CHAIN, files=moved))


def test_a_longer_list_redoes_nothing_of_the_others(tmp_path: Path) -> None:
    longer = CHAIN.replace('"pdf_2"]', '"pdf_2", "pdf_3"]').replace(
        "weight = 2 } ]", 'weight = 2 }, { name = "pdf_3", tree = "nominal", weight = 3 } ]'
    )
    found = changed(built(tmp_path, CHAIN), built(tmp_path, longer))
    assert found == {("fill", f"{name}-pdf_3") for name in "abc"} | {
        ("total", "pdf_3"),
        ("table", "all"),
        ("report", "report"),
    }


def test_a_parameter_is_a_part_of_the_key_where_it_is_taken(tmp_path: Path) -> None:
    text = '[stages.{}]\nfunction = "physics.py:f"\nparams = {{ bins = {} }}\n'
    for takes, redone in ((("bins",), True), ((), False)):
        one, two = (built(tmp_path, text.format("a", bins), {"a": takes}) for bins in (1, 2))
        assert bool(changed(one, two)) == redone


def test_merges_take_the_outputs_in_their_order_and_others_get_the_merge(tmp_path: Path) -> None:
    text = CHAIN.replace('outputs = { spectrum = "hist" }', 'outputs = { spectrum = "hist" }\nmerge = "sum"')
    made = built(tmp_path, text)
    tasks = {(task.stage.name, task.name): task for task in made.tasks}
    assert tasks["fill", "merged"].of(specs.OwnMerge).places[:2] == ("stages/fill/a-nominal", "stages/fill/a-jes_up")
    assert tasks["total", "nominal"].of(specs.OwnCall).before[0].places == ("stages/fill/merged",)
    assert made.stages()["total"] == 1  # for each variation the same merge, and nothing else, is given


@pytest.mark.parametrize(
    ("members", "names"),
    [
        ('["a/b", "a.b", "ä b", "-x"]', ["a_b", "a.b", "ä_b", "_x"]),
        ('["a b", "a_b", "a/b"]', ["a_b", "a_b.2", "a_b.3"]),
        ('["merged", "..", "."]', ["merged.2", "_", "_.2"]),
        ("[1, 2.5, -3]", ["1", "2.5", "_3"]),
        ('["x", "x.2", "a/x"]', ["x", "x.2", "a_x"]),
        ('["a/b", "a b", "a_b.2"]', ["a_b", "a_b.3", "a_b.2"]),
    ],
)
def test_names_of_items_are_those_of_folders(tmp_path: Path, members: str, names: list[str]) -> None:
    made = built(tmp_path, f'[stages.a]\nfunction = "physics.py:f"\nover = {{ x = {members} }}\n', {"a": None})
    assert [task.name for task in made.tasks if task.stage.name == "a"] == names


def test_long_names_stay_apart(tmp_path: Path) -> None:
    members = [f'"{"x" * 300}{k}"' for k in range(3)]
    made = built(
        tmp_path, f'[stages.a]\nfunction = "physics.py:f"\nover = {{ x = [{", ".join(members)}] }}\n', {"a": None}
    )
    names = [task.name for task in made.tasks if task.stage.name == "a"]
    assert len(set(names)) == 3
    assert max(map(len, names)) <= stage_items.LONGEST


def test_a_member_without_an_output_of_the_earlier_stage_is_refused(tmp_path: Path) -> None:
    text = CHAIN.replace(
        'over = { variation = ["nominal", "jes_up", "pdf_1", "pdf_2"] }',
        'over = { variation = ["nominal", "jes_dwon"] }',
    )
    said = 'stages.total.after: the stage "fill" has no output for variation = jes_dwon; it goes over variation: nominal, jes_up'
    with pytest.raises(InputError, match=said):
        built(tmp_path, text)


SAMPLES = """
[features]
names = ["x"]
[samples.signal]
files = ["stage:skim"]
[samples.variations]
files = ["stage:skim"]
[samples.signal.variations.jes]
up = { files = ["stage:skim"] }
down = { files = ["stage:skim"] }
[ratios]
reference = ["variations"]
targets = ["signal", "variations"]
[stages.skim]
function = "physics.py:f"
over = { sample = ["signal", "variations"], variation = VARIATIONS }
outputs = { events = "table" }
[model]
parameters.mu = {}
processes.signal = "mu"
processes.variations = "1"
nuisances.jes = {}
"""


def test_files_of_samples_and_variations_are_their_own(tmp_path: Path) -> None:
    analysis = loaded(tmp_path, SAMPLES.replace("VARIATIONS", '["nominal", "jes.up", "jes.down"]')).analysis
    _, made = plan.build_first(analysis, inputs({"skim": None}))
    assert made["samples.variations.files stage:skim"] == ["stages/skim/variations-nominal/events.parquet"]
    assert made["samples.signal.variations.jes.down.files stage:skim"] == ["stages/skim/signal-jes.down/events.parquet"]


def test_a_variation_that_no_stage_makes_is_not_the_nominal_one(tmp_path: Path) -> None:
    analysis = loaded(tmp_path, SAMPLES.replace("VARIATIONS", '["nominal", "jes.up", "jes.donw"]')).analysis
    said = 'samples.signal.variations.jes.down.files: the stage "skim" has no output for sample = signal, variation = jes.down'
    with pytest.raises(InputError, match=said):
        plan.build_first(analysis, inputs({"skim": None}))


def test_the_name_of_a_file_counts_and_its_folder_does_not(tmp_path: Path) -> None:
    renamed = (replace(FILES[0], path="/raw/d.root"), *FILES[1:])
    assert {stage for stage, _ in changed(built(tmp_path, CHAIN), built(tmp_path, CHAIN, files=renamed))} >= {"select"}
    same = (FILES[0], replace(FILES[1], digest="a"), FILES[2])
    assert built(tmp_path, CHAIN, files=same).stages()["select"] == 6


def test_until_a_stage_keeps_what_it_needs(tmp_path: Path) -> None:
    made = built(tmp_path, CHAIN)
    assert made.until("fill").stages() == {"select": 6, "fill": 12}
    assert made.until("table").stages() == {"select": 6, "fill": 12, "total": 4, "table": 1}
    with pytest.raises(InputError, match='--until tabel: there is no such stage; did you mean "table"'):
        made.until("tabel")


def test_every_task_comes_after_those_it_needs(tmp_path: Path) -> None:
    backwards = "\n".join(reversed(CHAIN.replace("\n[", "\0[").split("\0")))
    seen: set[str] = set()
    made = built(tmp_path, backwards)
    for task in made.tasks:
        assert seen.issuperset(task.after), task.name
        seen.add(task.key)
    assert len(made.tasks) == len(built(tmp_path, CHAIN).tasks)


def test_ten_thousand_calls_are_planned_in_seconds(tmp_path: Path) -> None:
    files = tuple(plan.File(path=f"/raw/{k}.root", digest=str(k)) for k in range(2500))
    made = built(tmp_path, CHAIN, files=files)
    assert made.stages()["fill"] == 10_000


STAGE = '[stages.{}]\nfunction = "physics.py:f"\n{}\n'


@pytest.mark.parametrize(
    ("text", "key", "message"),
    [
        (STAGE.format("fit", ""), "stages.fit", "is the name of a stage of needle's"),
        (
            STAGE.format("a", 'after = ["b"]') + STAGE.format("b", 'after = ["a"]'),
            "stages.a.after",
            "goes round in a circle: a after b after a",
        ),
        (STAGE.format("a", 'after = ["a"]'), "stages.a.after", "goes round in a circle: a after a"),
        (
            STAGE.format("skim", "") + STAGE.format("a", 'after = ["skin"]'),
            "stages.a.after",
            '"skin" is no stage; did you mean "skim"?',
        ),
        (STAGE.format("a", 'after = ["convrt"]'), "stages.a.after", '"convrt" is no stage; did you mean "convert"?'),
        (
            STAGE.format("a", "") + "[stages.b]\ncommand = 'cat {a.x} > {result}'\nafter = ['a']\n",
            "stages.b.command",
            '{a.x}: "x" is no output of "a"',
        ),
        (
            STAGE.format("a", "") + "[stages.b]\ncommand = 'cat {p.x} > {result}'\nparams = { p = 1 }\n",
            "stages.b.command",
            "{p.x} stands for nothing; before the dot is a stage of yours in after",
        ),
        (
            STAGE.format("a", 'after = ["fit"]'),
            "stages.a.after",
            '"fit" has no tasks here, since the analysis has no samples',
        ),
        (
            STAGE.format("a", 'after = ["report"]\noutputs = { page = "section" }'),
            "stages.a.after",
            "comes after the report",
        ),
    ],
)
def test_what_is_wrong_with_the_order_of_stages(tmp_path: Path, text: str, key: str, message: str) -> None:
    found = dict(stage_rules.problems(loaded(tmp_path, text).analysis))
    assert message in found[key]
    assert len(found) == 1


LISTS = """
[lists]
variation = ["nominal", "few"]
few = [{ name = "pdf_1", weight = 1 }, { name = "pdf_2", weight = 2 }]
all = "variation"
[stages.fill]
function = "physics.py:fill"
over = { file = "raw/*.root", variation = "all" }
outputs = { spectrum = "hist" }
merge = "sum"
merge_over = ["file"]
[stages.table]
function = "physics.py:table"
over = { variation = "variation" }
after = ["fill"]
[stages.all]
function = "physics.py:everything"
after = ["fill"]
"""
LISTS_TAKE = {"fill": ("file", "weight"), "table": ("fill",), "all": ("fill",)}


def test_named_lists_and_merges_over_some_of_them(tmp_path: Path) -> None:
    made = built(tmp_path, LISTS, LISTS_TAKE)
    tasks = {(task.stage.name, task.name): task for task in made.tasks}
    assert made.stages() == {"fill": 9 + 3, "table": 3, "all": 1, "report": 1}
    merge = tasks["fill", "merged-pdf_1"].of(specs.OwnMerge)
    assert merge.places == tuple(f"stages/fill/{name}-pdf_1" for name in "abc")
    (table,) = tasks["table", "pdf_1"].of(specs.OwnCall).before
    assert (table.items, table.places) == ((), ("stages/fill/merged-pdf_1",))
    (whole,) = tasks["all", "all"].of(specs.OwnCall).before
    assert whole.items == ("nominal", "pdf_1", "pdf_2")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (('merge_over = ["file"]', 'merge_over = ["fle"]'), '"fle" is no list in over; did you mean "file"?'),
        (('merge = "sum"', ""), "stages.fill.merge_over: has no merge beside it"),
        (('variation = ["nominal", "few"]', 'variation = ["nominal", "all"]'), "goes round in a circle: variation in all in variation"),
        (("few = [", "files = ["), "lists.files: is the name of a list of needle's; choose another name"),
        (('["nominal", "few"]', '["pdf_1", "few"]'), '"pdf_1" stands there more than once'),
        (('variation = "all"', 'variation = "al"'), '"al" is no list of the analysis, and no pattern of files'),
    ],
)  # fmt: skip
def test_mistakes_in_lists_and_merges(tmp_path: Path, change: tuple[str, str], said: str) -> None:
    assert change[0] in LISTS
    problems = loaded(tmp_path, LISTS.replace(*change, 1)).problems
    assert any(said in str(problem) for problem in problems), [str(problem) for problem in problems]


FITTED = """
[features]
names = ["x"]
[samples.signal]
files = ["a.root"]
[samples.background]
files = ["a.root"]
[ratios]
reference = ["background"]
targets = ["signal"]
[model]
parameters.mu = {}
processes.signal = "mu"
processes.background = "1"
[stages.first]
function = "physics.py:first"
before = ["train", "second"]
[stages.second]
function = "physics.py:second"
after = ["combine"]
before = ["fit"]
[stages.third]
function = "physics.py:third"
"""


def test_stages_of_needle_wait_for_those_that_name_them(tmp_path: Path) -> None:
    (tmp_path / "a.root").write_bytes(b"root")
    takes: dict[str, tuple[str, ...] | None] = {"first": (), "second": ("first", "combine"), "third": ()}
    samples = {name: (plan.File(path="a.root", digest=name),) for name in ("signal", "background")}
    made = {}
    for text in (FITTED, FITTED.replace('before = ["train", "second"]', "").replace('before = ["fit"]', "")):
        found = plan.build(loaded(tmp_path, text).analysis, replace(inputs(takes), files=samples), 1)
        made[text] = {(task.stage.name, task.name): task for task in found.tasks}
        keys = [task.key for task in found.tasks]
        assert all(key in keys[:place] for place, task in enumerate(found.tasks) for key in task.after)
    tasks, before = made.values()
    first, second = tasks["first", "all"], tasks["second", "all"]
    assert [one.argument for one in second.of(specs.OwnCall).before] == ["combine", "first"]
    assert {task.stage.name for task in tasks.values() if first.key in task.after} == {"train", "second"}
    assert {task.stage.name for task in tasks.values() if second.key in task.after} == {"fit"}
    trained = [{name: task.key for name, task in found.items() if name[0] == "train"} for found in (tasks, before)]
    assert trained[0] == trained[1] != {}  # what waits is made from the same


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ('before = ["fit"]', 'before = ["fits"]', ("stages.second.before", '"fits" is no stage; did you mean "fit"?')),
        ('before = ["fit"]', 'before = ["train"]', ("stages.second.before", '"train" cannot wait for it, since it comes after "combine"')),
        ('before = ["fit"]', 'before = ["first"]', ("stages.first.after", "goes round in a circle: first after second after first")),
    ],
)  # fmt: skip
def test_orders_that_cannot_be_are_said(before: str, after: str, words: tuple[str, str], tmp_path: Path) -> None:
    (tmp_path / "a.root").write_bytes(b"root")
    assert words in list(stage_rules.problems(loaded(tmp_path, FITTED.replace(before, after)).analysis))
