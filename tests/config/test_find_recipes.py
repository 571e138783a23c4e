"""Which recipes a net on a data set is made of."""

from pathlib import Path

import pytest
from faster_rcnn.config.loading import ConfigError, load_config
from faster_rcnn.config.recipes import find_recipes, recipe_file
from faster_rcnn.config.settings import split_net


def names(paths):
    return [path.stem for path in paths]


def test_recipes_from_general_to_special(recipes):
    recipes(res18="", voc="", voc_res18="", own_data="", res50="", coco="")
    assert names(find_recipes("voc", "res18")) == ["res18", "voc", "voc_res18"]
    assert names(find_recipes("voc", "res50")) == ["res50", "voc"]
    assert names(find_recipes("voc", "vgg16")) == ["voc"]
    assert names(find_recipes("coco", "vgg16")) == ["coco"]


def test_recipes_of_a_pyramid(recipes):
    recipes(fpn="", res50="", coco="", coco_fpn="", coco_res50_fpn="", dc5="")
    found = find_recipes("coco", "res50_fpn")
    expected = ["fpn", "res50", "coco", "coco_fpn", "coco_res50_fpn"]
    assert names(found) == expected
    assert names(find_recipes("coco", "res50_dc5")) == ["dc5", "res50", "coco"]
    recipes(own_data="", own_data_fpn="")
    found = find_recipes("cells", "res18_fpn")
    assert names(found) == ["fpn", "own_data", "own_data_fpn"]


def test_recipes_of_heads(recipes):
    recipes(cascade="", mask="", mask_c4="", mask_fpn="", keypoint="", fpn="", res50="")
    recipes(coco="", coco_mask="", coco_cascade_mask="", coco_mask_res50_fpn="")
    found = names(find_recipes("coco", "mask_res50_fpn"))
    expected = ["fpn", "res50", "mask", "mask_fpn"]
    assert found == [*expected, "coco", "coco_mask", "coco_mask_res50_fpn"]
    found = names(find_recipes("coco", "mask_res50"))
    assert found == ["res50", "mask", "mask_c4", "coco", "coco_mask"]
    found = names(find_recipes("coco", "cascade_mask_res50_fpn"))
    assert found[2:5] == ["cascade", "mask", "mask_fpn"]
    assert found[5:] == ["coco", "coco_mask", "coco_cascade_mask"]
    found = names(find_recipes("coco", "mask_keypoint_res50_fpn"))
    assert found[2:] == ["mask", "mask_fpn", "keypoint", "coco", "coco_mask"]


@pytest.mark.parametrize("net", ["keypoint_mask_res50_fpn", "mask_res50_dc5s"])
def test_other_order_of_heads_is_unknown(net):
    with pytest.raises(ValueError, match=r"in this order.*did you mean \w+_res50"):
        split_net(net)


def test_enabled_heads_are_named():
    words = ["net.features", "fpn", "net.name", "res50", "mask.enabled", "true"]
    assert load_config([], words).net.full_name == "mask_res50_fpn"
    words += ["net.detector", "cascade", "keypoint.enabled", "true"]
    found = load_config([], words).net
    assert found.full_name == "cascade_mask_keypoint_res50_fpn"
    assert split_net(found.full_name).detector == found.detector
    with pytest.raises(ConfigError, match=r"need regions; found net\.detector retina"):
        load_config([], [*words, "net.detector", "retinanet"])


def test_recipes_of_own_data(recipes):
    recipes(res18="", own_data="", cells="", cells_res18="")
    for dataset in ("cells", "path/to/cells", "voc+path/to/cells", ""):
        assert names(find_recipes(dataset, "res18")) == ["res18", "own_data"]
        assert names(find_recipes(dataset, "res50")) == ["own_data"]


@pytest.mark.parametrize("name", ["coco", "voc", "fpn", "mobile", "res50", "shapes"])
def test_a_folder_takes_no_recipe_by_its_name(tmp_path, monkeypatch, name):
    folder = tmp_path / name
    folder.mkdir()
    monkeypatch.chdir(tmp_path)
    for dataset in (str(folder), f"{folder}/", f"./{name}"):
        assert names(find_recipes(dataset, "mobile")) == ["mobile", "own_data"]
        found = names(find_recipes(dataset, "res50_fpn"))
        assert found == ["fpn", "own_data", "own_data_fpn"]


def test_recipes_in_the_folder(recipes, tmp_path, monkeypatch):
    recipes(fpn="", own_data="", own_data_fpn="")
    for name in ("recipe", "recipe_fpn", "recipe_res18", "recipe_res50_fpn"):
        (tmp_path / f"{name}.yml").touch()
    found = find_recipes(str(tmp_path), "res50_fpn")
    own = ["recipe", "recipe_fpn", "recipe_res50_fpn"]
    assert names(found) == ["fpn", "own_data", "own_data_fpn", *own]
    assert found[-1] == tmp_path / "recipe_res50_fpn.yml"
    # That of the current folder is not the one of unknown data.
    monkeypatch.chdir(tmp_path)
    assert names(find_recipes("", "res18")) == ["own_data"]


@pytest.mark.parametrize(
    ("dataset", "net", "problem"),
    [
        ("coco", "res50", "no recipe for res50 on coco: expected coco.yml"),
        ("cells", "res50", "data of one's own: expected own_data.yml"),
        ("voc", "res50_fpn", "nets with _fpn: expected fpn.yml"),
    ],
)
def test_defaults_are_no_recipe(recipes, dataset, net, problem):
    recipes(voc="", res50="")
    with pytest.raises(ConfigError, match=problem):
        find_recipes(dataset, net)


def test_recipes_by_file_or_name(recipes, tmp_path):
    recipes(schedule_3x="")
    mine = tmp_path / "schedule_3x"
    mine.touch()
    assert recipe_file(mine) == mine
    assert recipe_file(Path("schedule_3x")).name == "schedule_3x.yml"
    for gone in ("schedule3x", "elsewhere/schedule_3x.yml"):
        with pytest.raises(ConfigError, match=r"cannot be read: .*such as schedule_3x"):
            recipe_file(Path(gone))


def test_recipes_that_come_with_data_name_no_code(tmp_path):
    recipe = tmp_path / "recipe.yml"
    for entry in ("albumentations.Affine: {rotate: 9}", "torchvision.transforms.v2.X"):
        recipe.write_text(f"data:\n  transforms:\n    - {entry}\n")
        assert recipe in find_recipes(str(tmp_path), "res18")
    for entry in ("os.system: {command: ls}", "my_module.make", "albumentations_.f"):
        recipe.write_text(f"data:\n  transforms:\n    - {entry}\n")
        with pytest.raises(ConfigError, match=r"recipe\.yml: data\.transforms.*--cfg"):
            find_recipes(str(tmp_path), "res18")
