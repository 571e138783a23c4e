from faster_rcnn.evaluation.proposal_recall import ImageProposals
from faster_rcnn.inference.ordered_batches import gather_results
from faster_rcnn.utils.distributed import collectives
from faster_rcnn.utils.distributed.rank import ProcessRank
from tiny_runs import make_dataset, make_record


def test_results_of_all_processes_in_the_order_of_the_set(tmp_path, monkeypatch):
    names = ["c", "a", "d", "b"]
    dataset = make_dataset([make_record(tmp_path / name, 9, 9, []) for name in names])
    own, others = (
        [ImageProposals(name, None, None) for name in part] for part in ("cd", "ab")
    )
    monkeypatch.setattr(collectives, "gather", lambda found: [found, others])
    found, seconds = gather_results(dataset, [own[:1], own[1:]])
    assert [entry.image_id for entry in found] == names and seconds >= 0
    monkeypatch.setattr(collectives, "process_rank", lambda: ProcessRank(1, 2))
    assert gather_results(dataset, [others]) is None
