"""`harness report` and `harness diff`, as a person calls them."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.cli import main
from harness.spec.expand import Expansion, expand
from harness.spec.load import load_table
from harness.store import Store
from tests.conftest import Experiments
from tests.report.committed import assert_remade
from tests.report.results import fail, fill, finish, run_of
from tests.spec.specs import GOOD


@pytest.fixture
def good(experiments: Experiments) -> Expansion:
    """The good spec at its paper profile, with results."""
    expansion = expand(load_table(experiments.table("paper/good", GOOD)), "paper")
    fill(Store(), expansion, {"none": (72.0, 72.2), "logit": (75.0, 75.1)})
    return expansion


def call(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = main(words)
    out, err = capsys.readouterr()
    return code, out, err


def report(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    code, out, err = call(capsys, "report", "paper/good", "--profile", "paper", *words)
    assert (code, err) == (0, "")
    return out


def test_a_small_table_from_runs_to_files(
    good: Expansion, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = report(capsys, "--format", "md,csv,html,tex,pdf")
    for name in (
        "results/paper/good.paper.csv",
        "results/paper/good.paper.claims.csv",
        "reports/paper/good.paper.md",
        "reports/paper/good.paper.html",
        "reports/paper/good.paper.tex",
        "reports/paper/good.paper/results.tex",
        "reports/paper/good.paper.pdf",
    ):
        assert (tmp_path / name).stat().st_size > 0
        assert str(tmp_path / name) in out
    for figure in ("curves.png", "curves.pdf"):
        assert (tmp_path / "reports/paper/good.paper" / figure).is_file()
        assert figure not in out  # there may be a dozen
    assert "75.05 ± 0.64" in out
    with (tmp_path / "results/paper/good.paper.csv").open(encoding="utf-8") as file:
        cells = {(line["row"], line["column"]): line["verdict"] for line in csv.DictReader(file)}
    assert cells == {
        ("none", "acc"): "indicative",
        ("logit", "acc"): "indicative",
        ("logit", "pflops"): "reproduced",
    }
    text = (tmp_path / "reports/paper/good.paper.md").read_text(encoding="utf-8")
    assert "The one claim of the paper is supported." in text


def test_nothing_is_rendered_twice(
    good: Expansion, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report(capsys, "--format", "md,csv,html")
    files = [path for path in (tmp_path / "reports").rglob("*") if path.is_file()]
    before = {path: path.stat().st_mtime_ns for path in files}
    assert "already up to date" in report(capsys, "--format", "md,csv,html")
    assert {path: path.stat().st_mtime_ns for path in files} == before


def test_new_results_and_damaged_files_are_rendered_again(
    good: Expansion, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report(capsys, "--format", "csv,html")
    cells, page = (
        tmp_path / "results/paper/good.paper.csv",
        tmp_path / "reports/paper/good.paper.html",
    )
    page.write_text("cut sho", encoding="utf-8")
    report(capsys, "--format", "csv,html")
    assert page.stat().st_size > 1000
    before = cells.read_text(encoding="utf-8")
    wider = expand(good.table, "paper", seeds=[0, 1, 2])
    finish(Store(), run_of(wider, "train", "none", 2), {"val/top1": 72.1})
    report(capsys, "--format", "csv")
    assert cells.read_text(encoding="utf-8") != before


def test_a_report_before_any_run(
    experiments: Experiments, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    experiments.table("paper/good", GOOD)
    out = report(capsys)
    assert "No claim is tested yet." in out
    assert (tmp_path / "reports/paper/good.paper.pdf").is_file()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("report", "paper/good", "--profile", "papre"), "did you mean 'paper'?"),
        (("report", "paper/none"), "paper/none"),
        (("diff", "paper/good", "--profile", "paper"), "`harness report paper/good"),
    ],
)
def test_mistakes_are_one_message(
    good: Expansion,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    says: str,
) -> None:
    code, _, err = call(capsys, *words)
    assert code == 1
    assert says in err


def test_an_unknown_format(good: Expansion, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["report", "paper/good", "--format", "md,docx"])
    assert exit_.value.code == 1
    assert "'docx' is none of md, csv, html, tex, pdf" in capsys.readouterr().err


def test_a_file_in_the_way(
    good: Expansion, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "reports").write_text("in the way", encoding="utf-8")
    words = ("report", "paper/good", "--profile", "paper", "--format", "html")
    code, _, err = call(capsys, *words)
    assert code == 1
    assert "a file is in the way" in err


HEADER = "table,profile,row,column,metric,unit,published,mean,std,n,ci_low,ci_high,verdict,reason"


def reference(folder: Path, *, acc: str, pflops: str = "1767.6") -> Path:
    """A results folder with one accuracy (two seeds, std 0.1) and one computed value."""
    where = folder / "paper"
    where.mkdir(parents=True)
    lines = [
        HEADER,
        f"paper/good,paper,none,acc,val/top1,%,72.0,{acc},0.1,2,70,80,indicative,r",
        f"paper/good,paper,logit,pflops,teacher/train_pmacs,,1770,{pflops},,1,,,reproduced,r",
    ]
    (where / "good.paper.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    # `says` is what the column `text` was called before
    claims = "table,profile,claim,says,estimate,ci_low,ci_high,margin,n,verdict,reason\n"
    (where / "good.paper.claims.csv").write_text(claims, encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("acc", "pflops", "code"),
    [
        ("72.1", "1767.6", 0),
        ("72.6", "1767.6", 0),  # inside the 95 % interval of the difference
        ("73.5", "1767.6", 2),
        ("72.1", "1768.6", 2),  # within 0.5 %, but computed values do not scatter
    ],
)
def test_drift(
    good: Expansion,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    acc: str,
    pflops: str,
    code: int,
) -> None:
    report(capsys, "--format", "csv")
    folder = reference(tmp_path / "theirs", acc=acc, pflops=pflops)
    words = ("diff", "paper/good", "--profile", "paper", "--reference", str(folder))
    found, out, err = call(capsys, *words)
    assert (found, err) == (code, "")
    assert ("drifted" in out) == (code == 2)
    assert "1 new" in out  # logit's accuracy, which the reference does not have


def test_the_reference_of_the_project_is_found(
    good: Expansion, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report(capsys, "--format", "csv")
    code, _, err = call(capsys, "diff", "paper/good", "--profile", "paper")
    assert code == 1
    assert "no reference for paper/good.paper" in err
    reference(tmp_path / "results" / "reference" / "one", acc="72.1")
    assert call(capsys, "diff", "paper/good", "--profile", "paper")[0] == 0
    reference(tmp_path / "results" / "reference" / "two", acc="72.1")
    code, _, err = call(capsys, "diff", "paper/good", "--profile", "paper")
    assert code == 1
    assert "several references" in err


def test_a_reference_that_is_no_table(
    good: Expansion, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report(capsys, "--format", "csv")
    folder = reference(tmp_path / "theirs", acc="72.1")
    (folder / "paper" / "good.paper.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    words = ("diff", "paper/good", "--profile", "paper", "--reference", str(folder))
    code, _, err = call(capsys, *words)
    assert code == 1
    assert "the first line must be table,profile" in err


def test_the_claims_of_all_tables_are_on_one_page(
    good: Expansion, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = call(capsys, "claims", "--profile", "paper")
    assert (code, err) == (0, "")
    page = (tmp_path / "reports/claims.paper.md").read_text(encoding="utf-8")
    assert page in out
    assert "`paper/good`" in page
    assert "The one claim of the paper is supported." in page
    assert "2.95 points" in page
    code, out, err = call(capsys, "claims", "--profile", "tiny")
    assert code == 0
    assert "`paper/good`." in out.split("Without a result")[1]


def test_claims_of_a_profile_that_no_table_has(
    good: Expansion, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = call(capsys, "claims", "--profile", "huge")
    assert code == 1
    assert "no table has a profile 'huge' (there are: paper, tiny)" in err


CELLS = "results/reference/one/paper/good.paper.csv"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda text: text.replace(",", ";"), "columns are separated by ';': write commas"),
        (lambda text: text.replace(",", "\t"), "columns are separated by tabs: write commas"),
        (lambda text: text.replace("mean,std", "average,std"), "the columns mean are missing"),
        (lambda text: text.replace("72.1", "72,1"), ":2: not 14 fields"),
        (lambda text: text.replace("72.1", "much"), ":2: mean: 'much' is no finite number"),
        (lambda text: text.replace("72.1", "nan"), ":2: mean: 'nan' is no finite number"),
        (lambda text: text.replace("0.1,2,", "0.1,two,"), ":2: n: 'two' is no finite number"),
        (lambda text: text.replace("0.1,2,", "0.1,0,"), ":2: n: '0' is no number of values"),
        (lambda text: text.replace("70,80", "80,70"), "'80' and '70' are no interval"),
        (lambda text: text.replace("70,80", ",80"), "'' and '80' are no interval"),
        (lambda text: text + text.splitlines()[1] + "\n", "a second line for row none, column acc"),
        (lambda text: "", "is empty"),
        (lambda text: text.replace("mean,std", "std,std"), "the column std is there twice"),
    ],
)
def test_a_reference_that_cannot_be_read_is_one_sentence(
    good: Expansion,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    change: Callable[[str], str],
    says: str,
) -> None:
    report(capsys, "--format", "csv")
    reference(tmp_path / "results" / "reference" / "one", acc="72.1")
    path = tmp_path / CELLS
    path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")
    code, _, err = call(capsys, "diff", "paper/good", "--profile", "paper")
    assert code == 1
    assert says in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    "encode",
    [
        lambda text: text.encode("utf-8-sig"),
        lambda text: text.replace("\n", "\r\n").encode(),
        lambda text: "".join(f"{line},more\n" for line in text.splitlines()).encode(),
    ],
    ids=["byte order mark", "Windows line ends", "one column more"],
)
def test_a_reference_that_a_spreadsheet_has_saved_is_read(
    good: Expansion,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    encode: Callable[[str], bytes],
) -> None:
    report(capsys, "--format", "csv")
    reference(tmp_path / "results" / "reference" / "one", acc="72.1")
    path = tmp_path / CELLS
    path.write_bytes(encode(path.read_text(encoding="utf-8")))
    code, _, err = call(capsys, "diff", "paper/good", "--profile", "paper")
    assert (code, err) == (0, "")


def test_a_report_offers_a_comparison_only_where_there_is_a_reference(
    good: Expansion, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "reports/paper/good.paper.md"
    report(capsys, "--format", "csv,md")
    assert "harness diff" not in path.read_text(encoding="utf-8")
    reference(tmp_path / "results" / "reference" / "one", acc="72.1")
    report(capsys, "--format", "csv,md")
    assert "harness diff paper/good --profile paper" in path.read_text(encoding="utf-8")


def test_a_report_with_a_damaged_run_is_made_and_says_so(
    good: Expansion, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = next((tmp_path / "results" / "runs").glob("*/metrics.jsonl"))
    damaged.write_bytes(b"\xff\n")
    code, out, err = call(capsys, "report", "paper/good", "--profile", "paper")
    assert code == 1
    assert err.startswith(f"error: {damaged}:1: not UTF-8")
    assert len(err.splitlines()) == 1
    assert "75.05 ± 0.64" in out
    text = (tmp_path / "reports/paper/good.paper.md").read_text(encoding="utf-8")
    assert "Damaged files, left out" in text


def test_a_report_with_a_damaged_run_directory_is_made_and_says_so(
    good: Expansion, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = run_of(good, "train", "none", 0)
    directory = tmp_path / "results" / "runs" / run.name
    (directory / "run.json").write_bytes(b"{")
    for words in (("report", "paper/good", "--profile", "paper"), ("claims", "--profile", "paper")):
        code, out, err = call(capsys, *words)
        assert code == 1
        (line,) = err.splitlines()
        assert line.startswith(f"error: {run.name}: run.json is damaged")
        assert line.endswith("; left out")
        assert "75.05" in out or words[0] == "claims"
    text = (tmp_path / "reports/paper/good.paper.md").read_text(encoding="utf-8")
    assert "Damaged files, left out" in text


def test_a_reference_is_published_found_and_made_again(
    good: Expansion, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    failed = run_of(expand(good.table, "paper", seeds=[0, 1, 2]), "train", "logit", 2)
    fail(Store(), failed, "CUDA out of memory\nmore of it")
    report(capsys, "--format", "md", "--reference", "one")
    results, reports = (tmp_path / where / "reference" / "one" for where in ("results", "reports"))
    assert_remade(good.table, "paper", results, reports)
    assert "harness diff paper/good" in (reports / "paper/good.paper.md").read_text()
    with (results / "paper/good.paper.seeds.csv").open(encoding="utf-8") as file:
        every = list(csv.DictReader(file))
    lines = {
        (line["row"], line["column"], line["seed"]): line
        for line in every
        if line["state"] != "epoch"
    }
    recorded = [
        (line["epoch"], float(line["value"]))
        for line in every
        if (line["row"], line["seed"], line["state"]) == ("logit", "1", "epoch")
    ]
    assert recorded == [("1.0", pytest.approx(65.1)), ("2.0", 75.1)]
    assert lines["logit", "acc", "1"]["value"] == "75.1"
    assert lines["logit", "acc", "1"]["cpu"] == "A CPU"
    assert lines["logit", "acc", "1"]["commit"] == "0123456789ab"
    assert lines["logit", "acc", "1"]["look"] == "2"
    assert lines["logit", "pflops", ""]["value"] == "1767.6"
    assert (tmp_path / "results/paper/good.paper.seeds.csv").is_file()  # with its looks
    assert call(capsys, "diff", "paper/good", "--profile", "paper")[0] == 0
    # all of it again, in one command: nothing is left to compute
    before = (results / "paper/good.paper.csv").read_text(encoding="utf-8")
    _, out, _ = call(capsys, "references", "one")
    assert "1 of 1: paper/good, profile paper" in out
    assert (results / "paper/good.paper.csv").read_text(encoding="utf-8") == before
    call(capsys, "references", "new", "--like", "one")
    assert (tmp_path / "results/reference/new/paper/good.paper.seeds.csv").is_file()
    code, _, err = call(capsys, "references", "two")
    assert code == 1
    assert "`harness report TABLE --reference two` publishes some" in err


def test_one_broken_spec_keeps_no_table_from_being_published_again(
    good: Expansion,
    experiments: Experiments,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    report(capsys, "--format", "md", "--reference", "one")
    experiments.table("paper/broken", "paper: {title: [")
    code, out, err = call(capsys, "references", "new", "--like", "one")
    assert code >= 1
    assert "error: paper/broken is left out: 1 problem" in err
    assert "1 of 1: paper/good, profile paper" in out
    assert (tmp_path / "results/reference/new/paper/good.paper.csv").is_file()


def test_values_of_runs_that_need_something_are_kept_as_needs(
    experiments: Experiments, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = load_table(
        experiments.table("paper/good", GOOD.replace("fashion-mnist", "imagenet-1k"))
    )
    report(capsys, "--format", "md,csv", "--reference", "one")
    results, reports = (tmp_path / where / "reference" / "one" for where in ("results", "reports"))
    assert_remade(table, "paper", results, reports)
    assert ",needs," in (results / "paper/good.paper.seeds.csv").read_text(encoding="utf-8")
