"""Settings by member, and weights to start from: what is read, what is refused, and how members come into packs."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from needle_parsl import initial_weights as initial
from needle_parsl import plan, reading
from needle_parsl.analysis import Training, load, read
from needle_parsl.analysis.tables.training import MemberSettings
from needle_parsl.errors import InputError
from needle_parsl.plan import specs
from needle_parsl.plan.keys import digest

NETWORKS = "training.members=[{{ count = {}, layers = 1 }}, {{ count = 2, learning_rate = 1e-3 }}, {{ layers = 2, nodes = 4 }}]"


def build(
    folder: Path, *settings: str, pack: int = 8, initial: dict[str, dict[str, specs.InitialSpec]] | None = None
) -> plan.Plan:
    loaded = load(folder, list(settings))
    files = {name: (plan.File(path="f", digest=name, borders=(0, 100)),) for name in plan.sources(loaded.analysis)}
    inputs = plan.Inputs(files=files, physics=plan.Physics(loaded.source, "p"), exact=True, initial=initial or {})
    return plan.build(loaded.analysis, inputs, pack)


def trained(made: plan.Plan, ratio: str = "signal") -> list[specs.Train]:
    return [task.spec for task in made.tasks if isinstance(task.spec, specs.Train) and task.spec.ratio.name == ratio]


def test_members_of_one_shape_share_a_pack(small_inputs: Path) -> None:
    """A step size is a number of a member; another number of layers, or the user's own network, is another pack."""
    made = build(small_inputs, NETWORKS.format(1), "training.folds=1")
    first, second = trained(made)
    assert made.networks == 3 * 4
    assert [(m.member, m.own, m.settings) for m in first.members] == [
        (0, (), "layers = 1"),
        (1, (("learning_rate", 1e-3),), "learning_rate = 0.001"),
        (2, (("learning_rate", 1e-3),), "learning_rate = 0.001"),
    ]
    assert [(m.member, m.own, m.settings) for m in second.members] == [(3, (), "layers = 2, nodes = 4")]
    assert (first.training.layers, first.training.learning_rate) == (1, 1e-2)
    assert (second.training.layers, second.training.nodes, second.training.members) == (2, 4, 1)
    names = [task.name for task in made.tasks if task.stage.name == "train" and task.name.startswith("signal")]
    assert names == ["signal.0000", "signal.0001"]


def test_a_member_is_what_it_is_whatever_the_others_are(small_inputs: Path) -> None:
    """Its seed is that of its number, in whatever pack."""
    alike = trained(build(small_inputs, "training.members=4", pack=2))
    mixed = trained(build(small_inputs, NETWORKS.format(1), pack=1))
    seeds = {(m.member, m.fold): m.seed for spec in alike for m in spec.members}
    assert {(m.member, m.fold): m.seed for spec in mixed for m in spec.members} == seeds


def test_more_members_of_a_kind_leave_the_others_as_they_are(small_inputs: Path) -> None:
    before, after = (
        build(small_inputs, f"training.members=[{{ layers = 2 }}, {{ count = {n} }}]", "training.folds=1", pack=1)
        for n in (1, 2)
    )
    keys = {task.key for task in after.tasks if task.stage.name == "train"}
    assert {task.key for task in before.tasks if task.stage.name == "train"} < keys


def test_a_list_of_one_empty_table_is_a_number_of_members(small_inputs: Path) -> None:
    """What was trained before needs no new training."""
    number, table = build(small_inputs, "training.members=3"), build(small_inputs, "training.members=[{ count = 3 }]")
    assert [task.key for task in number.tasks] == [task.key for task in table.tasks]


def test_replicas_have_the_same_mixture_each(small_inputs: Path) -> None:
    made = build(
        small_inputs,
        "training.members=[{}, { layers = 2 }]",
        "training.folds=1",
        "bootstrap={ replicas = 2, repeats = 2 }",
    )
    found = [(m.member, m.settings) for spec in trained(made) if spec.replica for m in spec.members]
    assert sorted(set(found)) == [(0, ""), (1, "layers = 2"), (2, ""), (3, "layers = 2")]


def test_keys_that_came_later_change_no_key_where_they_are_not_said(small_inputs: Path) -> None:
    spec = trained(build(small_inputs))[0]
    assert "initial" not in plan.content(spec)
    assert not {"initial", "frozen"} & set(plan.content(spec.training))
    assert digest(specs.MemberSpec(member=0, fold=0, seed=1, bootstrap=None)) == digest(
        {"bootstrap": None, "fold": 0, "member": 0, "seed": 1}
    )


def test_another_content_of_the_weights_trains_again_and_another_place_does_not(small_inputs: Path) -> None:
    def keys(content: str, path: str) -> list[str]:
        initial = {"w.pt": {"": specs.InitialSpec(content, (path,))}}
        made = build(small_inputs, 'training.initial="w.pt"', initial=initial)
        return [task.key for task in made.tasks if task.stage.name == "train"]

    assert keys("1", "here") == keys("1", "there")
    assert not {*keys("1", "here")} & {*keys("2", "here")}


def test_members_with_weights_of_their_own_do_not_depend_on_their_folder(small_inputs: Path) -> None:
    """What they have of their own is named by the file and its content."""

    def made(content: str, said: str) -> list[specs.Train]:
        initial = {said: {"": specs.InitialSpec(content, (f"/{said}",))}}
        return trained(build(small_inputs, f"training.members=[{{}}, {{ initial = '{said}' }}]", initial=initial))

    first, second = made("1", "here/w.pt"), made("1", "there/w.pt")
    assert [digest(spec) for spec in first] == [digest(spec) for spec in second]
    (words,) = {m.settings for m in first[1].members}
    assert words.startswith("initial = w.pt (")
    assert {m.settings for m in made("2", "here/w.pt")[1].members} != {words}


def test_a_ratio_that_an_earlier_run_lacks_starts_at_random(small_inputs: Path) -> None:
    initial = {"run": {"signal": specs.InitialSpec("1", ("run/packs/signal.0000.h5",))}}
    made = build(small_inputs, 'training.initial="run"', initial=initial)
    assert {spec.initial.digest if spec.initial else None for spec in trained(made)} == {"1"}
    assert {spec.initial for spec in trained(made, "background.jes.up")} == {None}


PAGE = Path(__file__).parents[2] / "docs" / "training.md"


@pytest.mark.parametrize(
    ("heading", "count", "starts"),
    [("## Starting from weights", 3, ["pretrained.safetensors"]), ("## Mixed ensembles", 10, [])],
)
def test_what_the_page_shows_can_be_read(
    small_inputs: Path, tmp_path: Path, heading: str, count: int, starts: list[str]
) -> None:
    lines = PAGE.read_text().partition(f"{heading}\n\n")[2].splitlines()
    shown = "\n".join(line.strip() for line in lines[: lines.index("")])
    before, _, after = (small_inputs / "analysis.toml").read_text().partition("[training]")
    rest = after.partition("[split]")[2]
    own = shown if "members" in shown else f"{shown}\nmembers = 3"
    (tmp_path / "analysis.toml").write_text(f"{before}{own}\n[split]{rest}")
    (tmp_path / "physics.py").write_text((small_inputs / "physics.py").read_text())
    loaded = read(tmp_path)
    assert [p for p in loaded.problems if p.key.startswith("training")] == []
    training = loaded.analysis.training
    assert (training.count(), [said for _, said in training.starts()]) == (count, starts)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("[]", "training.members: is empty; give a number, or a table for each kind of member"),
        ("[{ lyers = 3 }]", 'training.members[0].lyers: unknown key; did you mean "layers"?'),
        ("[{}, { count = 0 }]", "training.members[1].count: found 0, expected a number of at least 1"),
        ("[{}, { network = 'mpl' }]", 'training.members[1].network: "mpl" is no network; did you mean "mlp"?'),
        (
            "[{ network = 'deepset' }]",
            "training.members[0].network: deepset is a network of particles; name them in [features] particles",
        ),
        (
            "[{ output = 'probability' }]",
            "training.members[0].output: is for a network of your own, and mlp is needle's; leave it out",
        ),
        ("[{ loss = 'carl' }]", 'training.members[0].loss: unknown key; did you mean "training.loss"?'),
        ("[3]", "training.members[0]: found 3, expected a table"),
        ("'five'", 'training.members: found "five", expected a whole number or a list of tables'),
        ("0", "training.members: found 0, expected a number of at least 1"),
        ("[{ count = 0 }]", "training.members[0].count: found 0, expected a number of at least 1"),
    ],
)
def test_what_is_no_list_of_members_is_refused_with_its_key(small_inputs: Path, setting: str, message: str) -> None:
    problems = read(small_inputs, [f"training.members={setting}"]).problems
    assert [str(p) for p in problems if message in f"{p.key}: {p.message}"], problems
    assert len(problems) == 1


def test_entries_know_their_members() -> None:
    training = Training(members=(MemberSettings(count=2), MemberSettings(count=3, layers=1)))
    assert [training.numbers(place) for place in (0, 1)] == [[0, 1], [2, 3, 4]]
    assert [training.entry_of(number) for number in (0, 2, 4, 5, 9)] == [0, 1, 1, 0, 1]


def test_an_earlier_run_may_hold_any_analysis(small_inputs: Path, tmp_path: Path) -> None:
    """A file of somebody else's that is no analysis divides events otherwise, for all that is known."""
    loaded = load(small_inputs)
    (tmp_path / "run.json").write_text(f'{{"seed": {loaded.analysis.seed}}}')
    for table, alike in ((loaded.table, True), ({**loaded.table, "training": 4}, False)):
        (tmp_path / "analysis.toml").write_text(reading.dump(table))
        folds = {"training": {**loaded.table["training"], "folds": 3}} if not alike else {}
        said = initial.note(tmp_path, replace(loaded, table={**loaded.table, **folds}))
        assert ("divides events otherwise" in said) is not alike


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            ["training.nodes=[32, 64]"],
            "training.nodes: found a list, expected a whole number; write members = [{ nodes = 32 }, { nodes = 64 }]",
        ),
        (
            ["training.optimizer=['adam', 'sgd', 'adamw']"],
            (
                'training.optimizer: found a list, expected "adamw" or "adam" or "nadam" or "sgd"; '
                'write members = [{ optimizer = "adam" }, { optimizer = "sgd" }, ...]'
            ),
        ),
        (["training.folds=[2, 3]"], "training.folds: found a list, expected a whole number"),
        (
            ["training.members=[{}, { layers = 3 }]", "bootstrap={ replicas = 2, repeats = 2, members = 3 }"],
            "bootstrap.members: is no multiple of 2, so that replicas would be mixed otherwise than the ensemble; leave it out",
        ),
        (
            ["training.members=[{}, { network = 'flow' }]", "ensemble.combine='weighted'"],
            (
                "ensemble.combine: weighted compares validation losses, which a flow and a network of your own may define "
                "otherwise than the rest of a mixed ensemble; choose another combine"
            ),
        ),
    ],
)
def test_what_members_cannot_have_is_refused(small_inputs: Path, settings: list[str], message: str) -> None:
    assert [f"{p.key}: {p.message}" for p in read(small_inputs, settings).problems] == [message]


def test_packs_of_an_earlier_run_are_in_the_order_of_its_ledger(tmp_path: Path) -> None:
    """Times are others in a copy; where two packs hold a member, the last one has the last word."""
    (tmp_path / "packs").mkdir()
    names = ["é.0000.h5", "é.0001.h5", "é.0002.h5"]
    for place, name in enumerate(names):
        (tmp_path / "packs" / name).write_text(name)
        os.utime(tmp_path / "packs" / name, (100 - place, 100 - place))
    order = [2, 0, 1, 2, 0]
    lines = [json.dumps({"key": "k", "output": f"packs/{names[n]}"}, separators=(",", ":")) for n in order]
    (tmp_path / "ledger.jsonl").write_text("\n".join([*lines, "torn"]))
    ((learned, found),) = initial.found(tmp_path).items()
    assert (learned, [Path(file).name for file in found.files]) == ("é", [names[1], names[2], names[0]])


@pytest.mark.parametrize("said", ["\0", "~nobody-of-this-name/w.pt", "x" * 5000])
def test_what_is_no_path_is_refused_in_a_sentence(small_inputs: Path, said: str) -> None:
    with pytest.raises(InputError):
        initial.found(initial.path(load(small_inputs), said))
