"""LAP: what belongs together is fused, weights are weights, and the command trains, resumes and refuses in one line."""

import pytest
import torch

from facenb.cli import main
from facenb.commands.train_collection import Config
from facenb.image_sets import ImageSet, ImageSetError, open_images
from facenb.open_model import open_model
from facenb.photo import write_photo
from facenb.restore import collection_task
from facenb.restore.collection import CollectionNetwork, CollectionOptions
from facenb.restore.collection_command import train_collection
from facenb.restore.collection_evaluation import agreement, collect
from facenb.restore.collection_task import CollectionLoss, CollectionTask, apart, collection_loss, strips
from facenb.restore.proxy import Proxy, ProxyOptions
from facenb.restore.studio import open_studio
from facenb.restore.studio_files import read_studio, write_studio
from facenb.restore.studio_people import person_photo, studio_people
from facenb.weights import load_weights, save_weights

PROXY = ProxyOptions(size=16, coarse=8, width=4)


def photos(people=2, n=3, seed=0):
    return torch.rand(people, n, 3, 16, 16, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def network():
    return CollectionNetwork(CollectionOptions(PROXY, width=4))


@pytest.fixture(scope="module")
def studio():
    return open_studio(open_model())


def test_all_photos_of_a_person_share_one_face(network):
    made = network(photos())
    for part in (made.shared.depth, made.shared.albedo):
        assert torch.equal(part[0], part[1]) and torch.equal(part[0], part[2]) and not torch.equal(part[0], part[3])
    guess = network.proxy(photos().flatten(0, 1))
    assert torch.equal(made.shared.view.angles, guess.view.angles)
    assert torch.equal(made.own.light.xy, guess.light.xy)
    assert made.shared.albedo.min() >= 0 and made.shared.albedo.max() <= 1
    total = made.weight.sum(1)
    assert (made.weight >= 0).all() and (total <= 1 + 1e-5).all() and total.max() > 0.2


def test_the_order_of_the_photos_means_nothing(network):
    some = photos(n=4)
    made, again = network(some), network(some[:, [2, 0, 3, 1]])
    torch.testing.assert_close(made.shared.depth[::4], again.shared.depth[::4], atol=1e-6, rtol=0)
    torch.testing.assert_close(made.shared.albedo[::4], again.shared.albedo[::4], atol=1e-5, rtol=0)


def test_a_photo_that_is_held_out_has_no_say(network):
    some = photos(people=1, n=3)
    made, pair = network(some, held_out=True), network(some[:, [0, 2]])
    torch.testing.assert_close(made.shared.albedo[1], pair.shared.albedo[0], atol=1e-5, rtol=0)
    assert not torch.allclose(made.shared.albedo[0], made.shared.albedo[1], atol=1e-3)


def test_one_photo_is_a_collection_too(network):
    made = network(photos(n=1))
    assert torch.isfinite(made.shared.depth).all() and made.own.albedo.shape == (2, 3, 16, 16)


def test_what_no_photo_sees_comes_from_the_proxy(network, monkeypatch):
    from facenb.restore import collection

    def blind(photo, depth, view):
        return torch.zeros_like(photo), torch.zeros_like(depth, dtype=torch.bool)

    monkeypatch.setattr(collection, "unwrap", blind)
    made = network(photos())
    assert made.weight.max() < 1e-9
    mean = network.proxy(photos().flatten(0, 1)).albedo.unflatten(0, (2, 3))
    low, high = mean.amin(1), mean.amax(1)
    assert (made.shared.albedo[::3] >= low - 1e-6).all() and (made.shared.albedo[::3] <= high + 1e-6).all()


def test_the_loss_teaches_everything_but_the_proxy(network):
    task = CollectionTask(network)
    strip = torch.cat(list(photos().unbind(1)), -1)
    assert torch.equal(apart(strip), photos())
    task.step(strip, torch.Generator().manual_seed(0)).loss.backward()
    for part in (network.look, network.weigh, network.shape, network.own):
        assert max(float(p.grad.abs().max()) for p in part.parameters()) > 0
    assert all(p.grad is None for p in network.proxy.parameters())
    parts = collection_loss(network(photos()), photos().flatten(0, 1), CollectionLoss(mirror=0, edges=0, skin=0))
    assert parts["mirror"] == 0 and parts["skin"] == 0 and parts["shared"] > 0


def test_gradients_are_right():
    torch.manual_seed(0)
    network = CollectionNetwork(CollectionOptions(ProxyOptions(size=8, coarse=8, width=4), width=4)).double()
    some = torch.rand(1, 2, 3, 8, 8, dtype=torch.float64)
    bias = network.weigh.bias.detach().clone().requires_grad_()

    def albedo(b):
        changed = {"weigh.bias": b}
        return torch.func.functional_call(network, changed, some).own.albedo

    assert torch.autograd.gradcheck(albedo, bias, fast_mode=True)


def test_photos_of_one_person_differ_in_mood_view_and_light_only(studio):
    faces = studio_people(studio, seed=3, people=2, photos=2, size=16)
    assert torch.equal(faces.identity[0], faces.identity[1]) and not torch.equal(faces.identity[0], faces.identity[2])
    for name in ("expression", "angles", "lamp", "image"):
        assert not torch.equal(getattr(faces, name)[0], getattr(faces, name)[1]), name
    assert torch.equal(person_photo(studio, 3, 1, 0, 16).image, faces.image[2:3])


def test_people_are_folders_or_follow_each_other(tmp_path):
    plain = ImageSet([f"{i:03d}" for i in range(7)], lambda i: torch.full((3, 4, 4), i, dtype=torch.uint8))
    people = strips(plain, 3, in_a_row=3)
    assert (
        len(people) == 2 and people[1].shape == (3, 4, 12) and people[1][0, 0].tolist() == [3] * 4 + [4] * 4 + [5] * 4
    )
    for name, count in (("ada", 3), ("bob", 1), ("eve", 2)):
        (tmp_path / name).mkdir()
        for i in range(count):
            write_photo(torch.rand(3, 16, 16), tmp_path / name / f"{i}.png")
    assert len(strips(plain, 2, in_a_row=3)) == 2  # nobody is mixed with the next
    with pytest.raises(ImageSetError, match="nobody has 2 photos"):
        strips(plain, 2, in_a_row=1)  # a studio folder of strangers
    with pytest.raises(ImageSetError, match="000: nothing says whom it shows; give a folder for each person"):
        strips(plain, 3)
    assert people.unit == "people"  # so that a run of them does not say how many images it has
    assert strips(open_images(tmp_path, 16), 2).names == ["ada", "eve"]
    with pytest.raises(ImageSetError, match="nobody has 4 photos"):
        strips(open_images(tmp_path, 16), 4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("collection")
    write_studio(out / "people", 8, 16, seed=3, workers=1, progress=False, photos=2)
    save_weights(Proxy(PROXY), out / "proxy.safetensors", half=False)
    return out


def config(folder, out, **changes) -> Config:
    small = dict(photos=2, steps=6, batch=2, width=4, checkpoint_every=2, log_every=1, tensorboard=False)
    return Config(images=folder / "people", proxy=folder / "proxy.safetensors", out=out, **small | changes)


def test_a_folder_of_people_holds_people(folder, studio):
    faces = read_studio(folder / "people")
    assert torch.equal(faces.identity[0], faces.identity[1]) and not torch.equal(faces.identity[1], faces.identity[2])
    assert torch.equal(faces.image[3:4], person_photo(studio, 3, 1, 1, 16).image)


def test_the_command_trains_and_resumes_bit_for_bit(folder, tmp_path):
    whole = load_weights(train_collection(config(folder, tmp_path / "whole")), "collection")
    assert whole.options == CollectionOptions(PROXY, 4)
    proxy = load_weights(folder / "proxy.safetensors").state_dict()
    assert all(torch.equal(value, whole.proxy.state_dict()[name]) for name, value in proxy.items() if value.ndim < 2)
    real, calls = collection_task.CollectionTask.step, []

    def interrupted(self, images, generator):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(self, images, generator)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(collection_task.CollectionTask, "step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train_collection(config(folder, tmp_path / "parts"))
    again = load_weights(train_collection(config(folder, tmp_path / "parts")))
    for name, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


def test_collections_are_measured_person_by_person(network):
    flat = photos(4, 2).flatten(0, 1)
    made = collect(network.eval(), flat, 2, batch=3)
    assert made.shared.depth.shape == (8, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(made.own.albedo[6:], network(flat.unflatten(0, (4, 2))[3:]).own.albedo)
    where = torch.ones(16, 16)
    same, own = agreement(made.shared, 2, where), agreement(made.own, 2, where)
    assert same.depth < 1e-7 and same.albedo < 1e-7 and own.albedo > 0
    with pytest.raises(ValueError, match="not 3 of each person"):
        collect(network, flat, 3)


def test_bad_input_is_one_line(folder, tmp_path, capsys):
    words = ["train-collection", str(folder / "people"), "--out", str(tmp_path / "a"), "--photos", "9"]
    words += ["--proxy", str(folder / "proxy.safetensors")]
    assert main(words) == 2
    line = capsys.readouterr().err.strip()
    assert "nobody has 9 photos" in line and "\n" not in line
    words[words.index("9")] = "3"  # the folder has 8 photos, two of each person: nobody is made of two people
    assert main(words) == 2 and "nobody has 3 photos" in capsys.readouterr().err
