import json

import cv2
import numpy as np
import pytest

from desdis_match.commands import cli
from desdis_match.commands.evaluate import main
from desdis_match.errors import InputError
from desdis_match.evaluate.cache import PredictionCache
from desdis_match.evaluate.patches import hpatches
from desdis_match.evaluate.patches import hpatches_lists as lists
from desdis_match.evaluate.patches import hpatches_scores as scores
from desdis_match.support import metrics


def largest_difference(a, b):
    """Over two trees of numbers with the same keys."""
    if isinstance(a, dict):
        assert set(a) == set(b)
        return max(largest_difference(a[key], b[key]) for key in a)
    return float(np.abs(np.array(a) - np.array(b)).max())


@pytest.fixture(scope="module")
def benchmark(shared_data):
    """Folder, names of sequences, number of patches each."""
    root = shared_data / "hpatches_format"
    names = lists.read_split("demo", [root])
    return root, names, {n: len(scores.read_patch_sequence(root / n)) for n in names}


def test_scores_equal_those_of_the_benchmarks_own_code(shared_data, tmp_path):
    root = shared_data / "hpatches_format"
    weights = [str(shared_data / "weights" / "desdis" / f"DesDis-{width}.pth") for width in (32, 8)]
    stored = tmp_path / "result.json"
    arguments = [
        "--root",
        str(root),
        "--tasks",
        str(root / "tasks"),
        "--split",
        "demo",
        "--json",
        str(stored),
    ]
    options = ["--no-cache", "--engine", "torch", "--device", "cpu"]
    assert main(["hpatches", *arguments, *options, "--descriptors", *weights, "rootsift"]) == 0
    expected = json.loads((root / "expected.json").read_text())
    found = json.loads(stored.read_text())
    for key in ("split", "distance", "task_sizes", "patches_per_sequence"):
        assert found[key] == expected[key]
    by_name = {name.lower(): values for name, values in found["descriptors"].items()}
    for name, values in expected["descriptors"].items():
        assert largest_difference(values, by_name[name]) < 1e-6
    assert set(found["weights"]) == {"DesDis-32", "DesDis-8", "rootsift"}
    assert found["command"].startswith("desdis-match evaluate hpatches --root")


def test_stored_descriptors_give_the_benchmarks_scores(benchmark):
    root, names, lengths = benchmark
    with np.load(root / "descriptors_desdis8.npz", allow_pickle=False) as archive:
        descriptors = {n: {k: archive[f"{n}/{k}"] for k in scores.TYPES} for n in names}
    expected = json.loads((root / "expected.json").read_text())["descriptors"]["desdis-8"]
    pairs, dropped = lists.read_verification(root / "tasks", "demo", names, lengths)
    assert dropped == 0
    pool, _ = lists.read_retrieval(root / "tasks", "demo", names, lengths)
    assert largest_difference(scores.verification(descriptors, names, pairs), expected["verification"]) < 1e-6
    assert largest_difference(scores.matching(descriptors, names), expected["matching"]) < 1e-12
    assert largest_difference(scores.retrieval(descriptors, names, pool), expected["retrieval"]) < 1e-12


def test_drawn_lists_are_those_that_the_benchmarks_generators_drew(benchmark):
    root, names, lengths = benchmark
    read, _ = lists.read_verification(root / "tasks", "demo", names, lengths)
    drawn = lists.draw_verification(names, lengths, 20000, 20000)
    for part in ("positive", "negative_intra", "negative_inter"):
        for column in ("sequence0", "image0", "patch0", "sequence1", "image1", "patch1"):
            assert np.array_equal(getattr(getattr(read, part), column), getattr(getattr(drawn, part), column))
    reference = {n: scores.read_patch_sequence(root / n).patches["ref"] for n in names}
    contrast = {n: r.reshape(len(r), -1).std(axis=1) for n, r in reference.items()}
    read_pool, _ = lists.read_retrieval(root / "tasks", "demo", names, lengths)
    pool = lists.draw_retrieval(names, contrast, 100, 200)
    for part in ("queries", "distractors"):
        assert np.array_equal(getattr(read_pool, part).sequence, getattr(pool, part).sequence)
        assert np.array_equal(getattr(read_pool, part).patch, getattr(pool, part).patch)


def test_published_splits():
    splits = lists.published_splits()
    assert {name: len(s) for name, s in splits.items()} == {
        "a": 40, "b": 40, "c": 40, "full": 116, "illum": 57, "view": 59,
    }  # fmt: skip
    assert set(splits["a"] + splits["b"] + splits["c"]) <= set(splits["full"])
    with pytest.raises(InputError, match="no split 'd'"):
        lists.read_split("d", [])


def random_descriptors(names, count, dim=8, seed=0):
    rng = np.random.default_rng(seed)
    return {n: {k: rng.random((count, dim), dtype=np.float32) for k in scores.TYPES} for n in names}


def test_retrieval_equals_sorting_each_list():
    names = ["v_a", "v_b", "i_c"]
    descriptors = random_descriptors(names, 12)
    rng = np.random.default_rng(5)
    queries = lists.PatchList(rng.integers(0, 3, 9), rng.integers(0, 12, 9))
    distractors = lists.PatchList(rng.integers(0, 3, 40), rng.integers(0, 12, 40))
    pools = (10, 20, 1000)
    found = scores.retrieval(descriptors, names, lists.RetrievalLists(queries, distractors), pools)["mAP"]
    for tier in "eht":
        values = {k: [] for k in pools}
        for s, p in zip(queries.sequence, queries.patch, strict=True):
            query = descriptors[names[s]]["ref"][p].astype(float)
            near = [np.linalg.norm(descriptors[names[s]][f"{tier}{k}"][p] - query) for k in range(1, 6)]
            others = zip(distractors.sequence, distractors.patch, strict=True)
            far = [np.linalg.norm(descriptors[names[o]]["ref"][q] - query) for o, q in others if o != s]
            for k in pools:
                distances = (near + far)[:k]
                values[k].append(metrics.precision_recall(distances, np.arange(len(distances)) < 5).area)
        for k in pools:
            assert found[tier][str(k)] == pytest.approx(np.mean(values[k]), abs=1e-9)


def make_patches(root, names, count=6, size=65):
    rng = np.random.default_rng(3)
    for name in names:
        (root / name).mkdir(parents=True)
        for kind in scores.TYPES:
            cv2.imwrite(
                str(root / name / f"{kind}.png"), rng.integers(0, 256, (size * count, size), np.uint8)
            )


DRAW = ("--num-pairs", "50", "--num-queries", "4", "--num-distractors", "6", "--split", "tiny")


def tiny_split(root, names):
    (root / "splits.json").write_text(json.dumps({"tiny": {"test": names, "train": [], "name": "tiny"}}))


def test_missing_sequences_are_named_and_the_rest_is_scored(tmp_path):
    make_patches(tmp_path, ["v_here", "i_here", "v_broken"])
    (tmp_path / "v_broken" / "t3.png").unlink()
    tiny_split(tmp_path, ["v_here", "i_gone", "i_here", "v_broken"])
    stored = tmp_path / "out" / "r.json"
    assert main(["hpatches", "--root", str(tmp_path), *DRAW, "--no-cache", "--json", str(stored)]) == 0
    notes = json.loads(stored.read_text())["notes"]
    assert notes[0].startswith("2 of 4 sequences are missing")
    assert "i_gone" in notes[0] and "v_broken (without t3)" in notes[0]


def test_csv_descriptors_and_lists_go_out_and_come_back(tmp_path):
    make_patches(tmp_path, ["v_a", "i_b"])
    tiny_split(tmp_path, ["v_a", "i_b"])
    csv, first, second = tmp_path / "csv", tmp_path / "1.json", tmp_path / "2.json"
    common = ["hpatches", "--root", str(tmp_path), *DRAW, "--no-cache"]
    assert main([*common, "--write-csv", str(csv), "--json", str(first)]) == 0
    assert len((csv / "rootsift" / "v_a" / "t5.csv").read_text().splitlines()) == 6
    again = ["--tasks", str(csv / "tasks"), "--csv-descriptors", str(csv / "rootsift"), "--descriptors"]
    assert main([*common, *again, "--json", str(second)]) == 0
    one, two = (json.loads(p.read_text())["descriptors"]["rootsift"] for p in (first, second))
    assert largest_difference(one, two) == 0
    with pytest.raises(InputError, match="2 descriptors are called 'rootsift'"):
        main([*common, "--csv-descriptors", str(csv / "rootsift")])


def test_bad_patches_lists_and_descriptors_are_refused(tmp_path, capsys):
    make_patches(tmp_path, ["v_a"])
    with pytest.raises(InputError, match="none of the 116 sequences"):
        main(["hpatches", "--root", str(tmp_path), "--split", "full", "--no-cache"])
    with pytest.raises(InputError, match="is no folder"):
        main(["hpatches", "--root", str(tmp_path / "nowhere"), "--no-cache"])
    cv2.imwrite(str(tmp_path / "v_a" / "h2.png"), np.zeros((130, 64), np.uint8))
    with pytest.raises(InputError, match=r"h2\.png should be 65 wide"):
        scores.read_patch_sequence(tmp_path / "v_a")
    cv2.imwrite(str(tmp_path / "v_a" / "h2.png"), np.zeros((130, 65), np.uint8))
    with pytest.raises(InputError, match="unequal numbers of patches"):
        scores.read_patch_sequence(tmp_path / "v_a")
    table = tmp_path / "verif_pos_split-x.csv"
    table.write_text("s1,t1,idx1,s2,t2,idx2\nv_a,0,0,v_a,1,9\n")
    with pytest.raises(InputError, match="asks for patch 9 of v_a, which has 6"):
        lists.read_table(table, lists.PAIR_COLUMNS, ["v_a"], {"v_a": 6})
    with pytest.raises(InputError, match="but not verif_neg_intra"):
        lists.have_lists(tmp_path, lists.VERIFICATION_KINDS, "x")
    with pytest.raises(InputError, match="2 descriptors that are not numbers"):
        scores.check_descriptors("net", np.full((2, 4), np.nan), 2, "v_a/ref")
    with pytest.raises(InputError, match=r"shape \(3, 4\) for the 2 patches"):
        scores.check_descriptors("net", np.zeros((3, 4)), 2, "v_a/ref")
    assert cli.run(main, ["nothing"]) == 2
    assert "there is no task 'nothing'" in capsys.readouterr().err


def test_cache_knows_its_key_and_survives_damage(tmp_path):
    cache = PredictionCache(tmp_path)
    calls = []

    def compute():
        calls.append(1)
        return {"x": np.arange(3)}

    key = {"task": "t", "weights": "a"}
    assert cache.get(key, compute)["x"].tolist() == [0, 1, 2]
    assert cache.get(dict(reversed(key.items())), compute)["x"].tolist() == [0, 1, 2]
    assert len(calls) == 1
    cache.get(key | {"weights": "b"}, compute)
    assert len(calls) == 2
    for path in tmp_path.rglob("*.npz"):
        path.write_bytes(path.read_bytes()[:50])
    assert cache.get(key, compute)["x"].tolist() == [0, 1, 2]
    assert len(calls) == 3 and cache.misses == 3


def test_sequences_in_the_place_of_patches_are_told(tmp_path):
    (tmp_path / "v_wall").mkdir()
    (tmp_path / "v_wall" / "H_1_2").write_text("1 0 0\n0 1 0\n0 0 1\n")
    with pytest.raises(InputError, match=r"sequences .* not its patches; .*evaluate homographies"):
        hpatches.survey(tmp_path, ["v_wall"], "a")
