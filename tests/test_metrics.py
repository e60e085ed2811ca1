"""Every metric on cases that can be done by hand, and what a failure costs."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from facenb.metrics import (
    box_side,
    cumulative_error,
    depth_error,
    direct_landmarks,
    five_point_box_error,
    five_point_error,
    five_points,
    inter_ocular,
    landmark_error,
    mask_iou,
    pose_error,
    rigid_alignment,
    seen_point_error,
    seen_points,
    summarise,
    uv_error,
    vertex_error,
)
from facenb.rotation import rotation_from_angles


@pytest.fixture
def landmarks():
    """68 points: eyes at (10, 20) and (30, 20) as hexagons, nose (20, 30), corners (12, 40) and (28, 40)."""
    points = torch.zeros(68, 2, dtype=torch.float64)
    hexagon = torch.tensor([[-2.0, 0], [-1, -1], [1, -1], [2, 0], [1, 1], [-1, 1]], dtype=torch.float64)
    points[:] = torch.tensor([20.0, 25.0])
    points[36:42], points[42:48] = hexagon + torch.tensor([10.0, 20.0]), hexagon + torch.tensor([30.0, 20.0])
    points[30], points[48], points[54] = torch.tensor([[20.0, 30.0], [12.0, 40.0], [28.0, 40.0]])
    points[0], points[8] = torch.tensor([[4.0, 20.0], [20.0, 50.0]])  # with the eye's corner at x = 32: a box
    return points


FIVE = torch.tensor([[10.0, 20.0], [30.0, 20.0], [20.0, 30.0], [12.0, 40.0], [28.0, 40.0]], dtype=torch.float64)


def test_the_five_points_are_eye_middles_nose_and_mouth_corners(landmarks):
    """Issue: means of 36–41 and 42–47, then 30, 48, 54."""
    torch.testing.assert_close(five_points(landmarks), FIVE)
    assert inter_ocular(FIVE) == 20


def test_a_point_off_by_five_pixels_costs_a_fifth_of_its_share():
    """3-4-5: one of five points off by 5 px, inter-ocular 20 px: 5 / 5 / 20 = 5 %."""
    moved = FIVE.clone()
    moved[2] += torch.tensor([3.0, 4.0])
    assert five_point_error(moved, FIVE) == pytest.approx(5.0)
    assert five_point_error(FIVE, FIVE) == 0


@given(shift=st.floats(-50, 50), scale=st.floats(0.1, 10), turn=st.floats(-3, 3))
def test_the_landmark_error_ignores_where_how_large_and_how_turned_the_picture_is(shift, scale, turn):
    g = torch.Generator().manual_seed(0)
    guess = FIVE + torch.randn(5, 2, generator=g, dtype=torch.float64)
    c, s = scale * math.cos(turn), scale * math.sin(turn)
    A = torch.tensor([[c, -s], [s, c]], dtype=torch.float64)
    error = five_point_error(guess @ A.T + shift, FIVE @ A.T + shift)
    assert error == pytest.approx(five_point_error(guess, FIVE).item(), rel=1e-9)


def test_points_are_seen_where_their_nearest_pixel_is_in_the_mask():
    mask = torch.zeros(2, 4, 6, dtype=torch.bool)
    mask[0, 1, 2] = mask[1, 3, 5] = True
    points = torch.tensor([[[2.4, 1.4], [2.6, 1.0], [2.0, -3.0]], [[5.4, 3.4], [6.2, 3.0], [5.0, 2.4]]])
    assert seen_points(points, mask).tolist() == [[True, False, False], [True, False, False]]


def test_only_points_that_are_seen_have_an_error():
    truth = torch.tensor([[[0.0, 0], [10, 0], [5, 5], [2, 10], [8, 10]]]).repeat(4, 1, 1)
    answer = truth.clone()
    answer[:, 2, 1] += 1  # a tenth of the distance between the eyes
    answer[:, 3, 0] += 40
    seen = torch.ones(4, 5, dtype=torch.bool)
    seen[:, 3] = False
    seen[1], answer[2, 0] = False, torch.nan
    seen[3, 0], answer[3, 0] = False, torch.nan
    errors = seen_point_error(answer, truth, seen)
    assert errors[0].item() == pytest.approx(10 / 4) and errors[1].isnan() and errors[2].isinf()
    assert errors[3].item() == pytest.approx(10 / 3)
    everything = torch.ones(4, 5, dtype=torch.bool)
    torch.testing.assert_close(seen_point_error(answer, truth, everything), five_point_error(answer, truth))


def test_the_box_side_is_the_root_of_the_tight_box(landmarks):
    """The box reaches from x = 4 to 32 and from y = 19 to 50: √(28 · 31)."""
    assert box_side(landmarks) == pytest.approx(math.sqrt(28 * 31))
    error = five_point_box_error(FIVE + torch.tensor([3.0, 4.0]), landmarks)
    assert error == pytest.approx(100 * 5 / math.sqrt(28 * 31))


def test_an_answer_that_is_no_number_is_a_failure_and_truth_that_is_none_an_error():
    broken = FIVE.clone()
    broken[3, 0] = torch.nan
    assert torch.stack([five_point_error(x, FIVE) for x in (broken, FIVE)]).tolist() == [math.inf, 0]
    with pytest.raises(ValueError, match="truth has NaN"):
        five_point_error(FIVE, broken)
    with pytest.raises(ValueError, match="coincide"):
        landmark_error(FIVE, FIVE, torch.tensor(0.0))


def affine_map(A, c, H=12, W=16):
    """uv(x) = A (x, y) + c at every pixel, (1, 2, H, W)."""
    y, x = torch.meshgrid(torch.arange(H), torch.arange(W), indexing="ij")
    pixels = torch.stack([x, y], -1).double()
    return (pixels @ A.T + c).movedim(-1, 0)[None]


def test_direct_landmarks_of_an_affine_map_are_exact_below_the_pixel():
    """The nearest pixel alone errs by less than 0.71 px; the affine inverse by nothing, at the rim, too."""
    A = torch.tensor([[0.05, 0.004], [-0.006, 0.06]], dtype=torch.float64)
    c = torch.tensor([0.02, 0.1], dtype=torch.float64)
    where = torch.tensor([[4.3, 5.4], [7.8, 8.2], [0.2, 0.3], [14.9, 10.6]], dtype=torch.float64)
    uv, target = affine_map(A, c), where @ A.T + c
    w = torch.ones(1, 12, 16, dtype=torch.float64)
    fine = direct_landmarks(uv, w, target)[0]
    torch.testing.assert_close(fine, where, atol=1e-4, rtol=0)
    coarse = direct_landmarks(uv, w, target, subpixel=False)[0]
    assert torch.equal(coarse, where.round())


def test_direct_landmarks_look_at_confident_pixels_only():
    uv = affine_map(0.05 * torch.eye(2, dtype=torch.float64), torch.zeros(2, dtype=torch.float64))
    w = torch.ones(1, 12, 16, dtype=torch.float64)
    w[0, :, :8] = 0.4
    x, _ = direct_landmarks(uv, w, torch.tensor([[0.2, 0.25]]), subpixel=False)[0, 0].tolist()
    assert x == 8  # (4, 5) is not to be had
    assert direct_landmarks(uv, 0 * w, torch.tensor([[0.2, 0.25]])).isnan().all()


def test_a_map_with_holes_or_without_slope_takes_the_pixel():
    """Constant uv has no inverse; NaN pixels are passed over."""
    flat = torch.full((1, 2, 6, 6), 0.5, dtype=torch.float64)
    found = direct_landmarks(flat, torch.ones(1, 6, 6), torch.tensor([[0.5, 0.5], [0.1, 0.9]]))
    assert found.isfinite().all() and torch.equal(found, found.round())
    A, zero = 0.05 * torch.eye(2, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    holes = affine_map(A, zero)
    holes[0, :, 5, 4] = torch.nan
    found = direct_landmarks(holes, torch.ones(1, 12, 16), torch.tensor([[0.21, 0.26]]))
    torch.testing.assert_close(found[0, 0], torch.tensor([4.2, 5.2], dtype=torch.float64), atol=1e-3, rtol=0)


def test_overlap_of_two_masks_counted_by_hand():
    """Two 2 × 2 squares that share one pixel: 1 of 7."""
    a, b = torch.zeros(4, 4, dtype=torch.bool), torch.zeros(4, 4, dtype=torch.bool)
    a[:2, :2], b[1:3, 1:3] = True, True
    assert mask_iou(a, b) == pytest.approx(1 / 7)
    assert mask_iou(torch.stack([a, a & b]), torch.stack([a, ~a & a])).tolist() == [1, 0]
    assert mask_iou(a & ~a, a & ~a) == 1


def test_a_correspondence_off_by_a_hundredth_is_off_by_3_2_texels():
    truth = torch.rand(2, 2, 5, 5)
    mask = torch.zeros(2, 5, 5, dtype=torch.bool)
    mask[:, 1:4, 1:4] = True
    guess = truth.clone()
    guess[:, 0] += 0.01
    guess[:, :, 0, 0] = 99  # outside the mask
    torch.testing.assert_close(uv_error(guess, truth, mask), torch.full((2,), 3.2), atol=1e-4, rtol=0)
    guess[1, 0, 2, 2] = torch.nan
    assert uv_error(guess, truth, mask)[1] == math.inf
    with pytest.raises(ValueError, match="without a single pixel"):
        uv_error(guess, truth, mask & False)


def test_depth_in_any_unit_is_compared_after_the_best_scale():
    """Ratios 1 and 2 over equal areas: s = 3/5, so |0.6 − 1| and |1.2 − 1|, on average 30 %."""
    truth = torch.full((1, 2, 2), 600.0, dtype=torch.float64)
    mask = torch.ones(1, 2, 2, dtype=torch.bool)
    guess = torch.tensor([[[1.0, 1.0], [2.0, 2.0]]], dtype=torch.float64)
    assert depth_error(guess, truth, mask).item() == pytest.approx(30)
    assert depth_error(0.37 * truth, truth, mask).item() == pytest.approx(0, abs=1e-12)
    assert depth_error(-guess, truth, mask).item() == math.inf
    assert depth_error(guess * torch.nan, truth, mask).item() == math.inf
    with pytest.raises(ValueError, match="positive"):
        depth_error(guess, 0 * truth, mask)


def test_pose_errors_are_the_angles_that_were_added():
    yaw = torch.tensor([-0.5, 0.0, 0.5], dtype=torch.float64)
    truth = rotation_from_angles(yaw, 0.1, 0.2)
    error = pose_error(rotation_from_angles(0.5 * yaw, 0.1, 0.2), truth)
    torch.testing.assert_close(error.yaw, (0.5 * yaw).abs().rad2deg())
    torch.testing.assert_close(error.rotation, error.yaw)  # one axis only
    torch.testing.assert_close(error.pitch + error.roll, torch.zeros(3, dtype=torch.float64))
    assert error.yaw_correlation == pytest.approx(1) and error.yaw_spread_ratio == pytest.approx(0.5)


def test_angles_are_compared_round_the_circle_and_a_lost_pose_counts_as_frontal():
    """179° and −179° are two degrees apart."""
    a = math.radians(179)
    wide = pose_error(
        rotation_from_angles(0.0, 0.0, [[a], [0.1]])[:, 0], rotation_from_angles(0.0, 0.0, [[-a], [0.1]])[:, 0]
    )
    assert wide.roll[0] == pytest.approx(2, abs=1e-3)
    R = rotation_from_angles(torch.tensor([-0.4, 0.4, 0.4], dtype=torch.float64))
    lost = R.clone()
    lost[2] = torch.nan
    error = pose_error(lost, R)
    assert error.yaw[2] == math.inf and error.rotation[2] == math.inf and error.yaw[0] == 0
    x, y = torch.tensor([-0.4, 0.4, 0.0]), torch.tensor([-0.4, 0.4, 0.4])
    assert error.yaw_correlation == pytest.approx(torch.corrcoef(torch.stack([x, y]))[0, 1].item())
    assert error.yaw_spread_ratio == pytest.approx((x.std() / y.std()).item())


def test_vertices_that_only_moved_have_no_error_after_alignment():
    g = torch.Generator().manual_seed(1)
    X = 50 * torch.randn(2, 40, 3, generator=g, dtype=torch.float64)
    turned = X @ rotation_from_angles(0.3, -0.2, 0.1, dtype=torch.float64).T + torch.tensor([3.0, 4.0, 0.0])
    torch.testing.assert_close(vertex_error(turned, X), torch.zeros(2, dtype=torch.float64), atol=1e-9, rtol=0)
    shifted = X + torch.tensor([3.0, 4.0, 0.0])
    torch.testing.assert_close(vertex_error(shifted, X, align=False), torch.full((2,), 5.0, dtype=torch.float64))
    bigger = X.mean(1, keepdim=True) + 1.1 * (X - X.mean(1, keepdim=True))
    expected = 0.1 * (X - X.mean(1, keepdim=True)).norm(dim=-1).mean(-1)
    torch.testing.assert_close(vertex_error(bigger, X), expected)  # a face too large stays too large
    assert vertex_error(torch.nan * X, X).tolist() == [math.inf] * 2


def test_alignment_never_mirrors():
    """A mirror image fits better by a reflection, which no head can do."""
    g = torch.Generator().manual_seed(2)
    X = torch.randn(30, 3, generator=g, dtype=torch.float64)
    Y = X * torch.tensor([-1.0, 1.0, 1.0])
    aligned = rigid_alignment(X, Y)
    A = torch.linalg.lstsq(X - X.mean(0), aligned - aligned.mean(0)).solution
    assert torch.det(A) == pytest.approx(1)
    assert vertex_error(X, Y) > 0.1


def test_the_cumulative_curve_counts_failures_as_never_reached():
    errors = torch.tensor([1.0, 2.0, math.nan, math.inf])
    curve = cumulative_error(errors, torch.tensor([0.5, 1.0, 2.0, math.inf]))
    assert curve.tolist() == [0, 0.25, 0.5, 0.5]


def test_a_summary_lets_nobody_gain_by_failing():
    """Errors 1, 2, 3 and a failure: mean (1 + 2 + 3 + 100) / 4; with an error of 400 the failure costs 400, too."""
    s = summarise(torch.tensor([3.0, 1.0, math.nan, 2.0]))
    assert (s.mean, s.median, s.failures, s.count) == (26.5, 2.5, 1, 4)
    assert s.percentile90 == math.inf
    assert summarise(torch.tensor([400.0, math.inf])).mean == 400
    assert summarise(torch.tensor([math.nan])).mean == 100
    assert summarise(torch.arange(1.0, 11)).percentile90 == 9
    with pytest.raises(ValueError, match="empty"):
        summarise(torch.zeros(0))
