import pytest
from stylegan2_ada.ada import Controller


def controller(p: float = 0.5) -> Controller:
    return Controller(target=0.6, images=1000, maximum=0.8, p=p)


@pytest.mark.parametrize(("r_t", "moved"), [(1.0, 0.1), (0.7, 0.1), (0.6, 0.0), (0.5, -0.1), (-1.0, -0.1)])
def test_p_rises_while_the_discriminator_is_too_sure(r_t: float, moved: float) -> None:
    ada = controller()
    ada.observe(r_t * 10, 10)
    ada.update(100)
    assert ada.p == pytest.approx(0.5 + moved)


@pytest.mark.parametrize(("p", "sign", "limit"), [(0.75, 1, 0.8), (0.05, -1, 0.0)])
def test_p_stays_in_its_range(p: float, sign: int, limit: float) -> None:
    ada = controller(p)
    ada.observe(sign * 10, 10)
    ada.update(100)
    assert ada.p == limit


def test_signs_are_forgotten_after_each_move_and_none_is_no_move() -> None:
    ada = controller()
    ada.observe(10, 10)
    ada.update(100)
    ada.update(100)
    assert ada.p == pytest.approx(0.6)
