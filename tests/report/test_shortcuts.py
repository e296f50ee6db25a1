import json
import re

from components.report.page import environment
from components.report.shortcuts import shortcuts_section
from tests.report.conftest import write_findings, write_json


def render(folder):
    return environment().get_template("shortcuts.html.j2").render(shortcuts=shortcuts_section(folder))


def test_at_chance_is_said_in_a_sentence_and_a_table(tmp_path):
    html = render(write_findings(tmp_path))
    assert "geometry of 4 scans" in html
    assert "Neither of two judges could." in html
    assert re.search(r"<td class=\"key\">51.0 %</td><td>48.0 % – 55.0 %</td><td>at chance</td>", html)
    assert "mean grey" in html
    assert "smaller disc in 70.0 % of pairs and the darker mean in 98.0 %" in html
    assert "<img" not in html


def test_a_leak_is_an_alarm_with_its_picture(tmp_path):
    html = render(write_findings(tmp_path, leak=True))
    assert 'class="alarm"' in html
    assert "in up to 93.0 % of planes: no figure here can be trusted" in html
    assert html.count('<img src="data:image/png;base64,') == 1


def test_of_several_leaks_the_worst_is_told(tmp_path):
    found = json.loads((write_findings(tmp_path, leak=True) / "audit.json").read_text())
    found["cases"] += [{**found["cases"][0], "accuracy": share} for share in (0.99, 0.7)]
    write_json(tmp_path / "audit.json", found)
    assert "in up to 99.0 % of planes" in render(tmp_path)


def test_an_audit_that_was_switched_off_says_so(tmp_path):
    write_json(tmp_path / "audit.json", {"audit": "off", "verdict": "skipped", "cases": []})
    assert "switched off" in render(tmp_path)
