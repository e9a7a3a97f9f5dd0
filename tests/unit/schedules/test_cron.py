"""Which cron expressions and time zones a schedule may have, and in which words the others are refused."""

import zoneinfo

import pytest

from pipeline_core.schedules.cron import CRON_NAMES, check_cron_expression, check_time_zone, time_zones

ACCEPTED = [
    ("0 */6 * * *", "0 */6 * * *"),
    ("  0   3 *  * 1-5 ", "0 3 * * 1-5"),
    ("0\t0 1 JAN mon", "0 0 1 JAN mon"),
    ("*/15 0-6,22 1,15 * *", "*/15 0-6,22 1,15 * *"),
    *(
        (expression, expression)
        for expression in [
            "* * * * *",
            "59 23 31 12 7",
            "0 0 29 2 *",
            "0 0 L * *",
            "0 0 15,l * *",
            "0 0 L * fri",
            "5/15 2/24 1/31 1/12 0/7",
            "10-50/20 * * * *",
            "0 22-6 * * *",
            "0 0 28-3 nov-feb fri-mon",
            "0 0 * jan,Mar-may sun",
            "0 0 * * 0-7",
            "0 0 * * 1-7/2",
            "0 0 1-31/2 * 1",
            "0 0 * * 5#2",
            "0 0 * * fri#1,FRI#3,0#5",
            "0 0 * * L5,L7",
            *CRON_NAMES,
        ]
    ),
    (" @daily ", "@daily"),
]

NEITHER = "it has {} fields, and seconds and years aren't supported"
MINUTES = "expected *, */n, a, a/n, a-b or a-b/n, of 0 to 59"
DAYS = "expected *, */n, a, a/n, a-b or a-b/n, of 1 to 31; or L"
WEEKDAYS = "expected *, */n, a, a/n, a-b or a-b/n, of 0 to 7 or sun to sat; or 5#2 or L5"
STEPS = "expected the values one by one: a range with a step ends after it begins"
BOTH = "where some take both and some take either; expected "
REFUSED = [
    ("1," * 32_000 + "1 * * * *", "at most 256 characters"),
    ("", "@annually"),
    ("   ", "@annually"),
    ("*/5 * * *", "@annually"),
    ("0 0 * * * 2030 1 1", "@annually"),
    ("* * * * * *", NEITHER.format(6)),
    ("0 * * * * * 2030", NEITHER.format(7)),
    ("@reboot", "@annually"),
    ("@DAILY", "@annually"),
    ("@every 5m", "@annually"),
    ("60 * * * *", f"minute '60', {MINUTES}"),
    ("100000 * * * *", f"minute '100000', {MINUTES}"),
    ("-1 * * * *", f"minute '-1', {MINUTES}"),
    ("1- * * * *", f"minute '1-', {MINUTES}"),
    ("0,,1 * * * *", f"minute '', {MINUTES}"),
    ("1-5-9 * * * *", f"minute '1-5-9', {MINUTES}"),
    ("*-5 * * * *", f"minute '*-5', {MINUTES}"),
    ("jan * * * *", f"minute 'jan', {MINUTES}"),
    ("a b c d e", f"minute 'a', {MINUTES}"),
    ("H * * * *", f"minute 'H', {MINUTES}"),
    ("H/15 * * * *", f"minute 'H/15', {MINUTES}"),
    ("R * * * *", f"minute 'R', {MINUTES}"),
    ("L * * * *", f"minute 'L', {MINUTES}"),
    ("\u0660 0 * * *", f"minute '\u0660', {MINUTES}"),
    ("0 24 * * *", "hour '24', expected *, */n, a, a/n, a-b or a-b/n, of 0 to 23"),
    ("0 0 0 * *", f"day of the month '0', {DAYS}"),
    ("0 0 32 * *", f"day of the month '32', {DAYS}"),
    ("0 0 ? * *", f"day of the month '?', {DAYS}"),
    ("0 0 15W * *", f"day of the month '15W', {DAYS}"),
    ("0 0 LW * *", f"day of the month 'LW', {DAYS}"),
    ("0 0 L-3 * *", f"day of the month 'L-3', {DAYS}"),
    ("0 0 * 13 *", "month '13', expected *, */n, a, a/n, a-b or a-b/n, of 1 to 12 or jan to dec"),
    ("0 0 * january *", "month 'january', expected *, */n, a, a/n, a-b or a-b/n, of 1 to 12 or jan to dec"),
    ("0 0 * mon *", "month 'mon', expected *, */n, a, a/n, a-b or a-b/n, of 1 to 12 or jan to dec"),
    ("0 0 * * 8", f"day of the week '8', {WEEKDAYS}"),
    ("0 0 * * 5#6", f"day of the week '5#6', {WEEKDAYS}"),
    ("0 0 * * *#2", f"day of the week '*#2', {WEEKDAYS}"),
    ("0 0 * * 1-5#2", f"day of the week '1-5#2', {WEEKDAYS}"),
    ("0 0 * * 5L", f"day of the week '5L', {WEEKDAYS}"),
    ("0 0 * * L", f"day of the week 'L', {WEEKDAYS}"),
    ("0 0 * * \u017fun#1", f"day of the week '\u017fun#1', {WEEKDAYS}"),
    ("*/0 * * * *", "minute '*/0', expected a step from 1 to 60"),
    ("*/90 * * * *", "minute '*/90', expected a step from 1 to 60"),
    ("0 1/25 * * *", "hour '1/25', expected a step from 1 to 24"),
    ("*,5 * * * *", "minute '*,5': * can't be listed beside others"),
    ("0 5-5 * * *", "hour '5-5', expected 5, or * for all"),
    ("0 0 * jan-1 *", "month 'jan-1', expected jan, or * for all"),
    ("0 0 * * 7-0", "day of the week '7-0', expected 7, or * for all"),
    ("0 22-6/2 * * *", f"hour '22-6/2', {STEPS}"),
    ("0 0 * * mon-sun/2", f"day of the week 'mon-sun/2', {STEPS}"),
    ("0 0 * * 7/2", f"day of the week '7/2', {STEPS}"),
    ("0 0 * * 5#2,1", "day of the week '5#2,1': 5#2 or L5 can't be listed beside other days"),
    ("0 0 */2 * 1", f"day of the month '*/2' beside another day, {BOTH}1-31/n for either"),
    ("0 0 1 * */2", f"day of the week '*/2' beside another day, {BOTH}0-6/n for either"),
    ("0 0 13 * 5#2", f"'5#2' beside a day of the month, {BOTH}one of them, and a schedule for each"),
    ("0 0 13 * L5", f"'L5' beside a day of the month, {BOTH}one of them, and a schedule for each"),
    ("0 0 31 2 *", "'0 0 31 2 *' names a day that never comes: "),
    ("0 0 30,31 feb 1", "'0 0 30,31 feb 1' names a day that never comes: "),
    ("0 0 31 4,6,9,11 *", "'0 0 31 4,6,9,11 *' names a day that never comes: "),
]

ZONES_REFUSED = [
    "",
    "Local",
    "localtime",
    "Factory",
    "europe/madrid",
    "Madrid",
    "CET-1",
    "+01:00",
    "../Etc/UTC",
    "/etc/localtime",
    "posixrules",
    "right/Europe/Madrid",
    "Europe",
    "a" * 300,
    "\0",
]


@pytest.mark.parametrize(("expression", "stored"), ACCEPTED)
def test_a_cron_expression_is_stored_as_the_api_server_takes_it(expression: str, stored: str) -> None:
    assert check_cron_expression(expression) == stored


@pytest.mark.parametrize(("expression", "words"), REFUSED)
def test_what_is_no_cron_expression_is_refused_in_words(expression: str, words: str) -> None:
    with pytest.raises(ValueError, match=r"^five fields such as .* or one of @hourly") as refused:
        check_cron_expression(expression)
    message = str(refused.value)
    assert words in message if words.endswith(": ") else message.endswith(words)


@pytest.mark.parametrize("zone", ["Etc/UTC", "UTC", "Europe/Madrid", "America/Argentina/Buenos_Aires", "Etc/GMT+5"])
def test_a_time_zone_is_a_name_of_the_iana_database(zone: str) -> None:
    assert check_time_zone(zone) == zone


@pytest.mark.parametrize("zone", ZONES_REFUSED)
def test_other_time_zones_are_refused(zone: str) -> None:
    with pytest.raises(ValueError, match=r"^a name of the IANA time zone database"):
        check_time_zone(zone)


def test_each_time_zone_can_be_read() -> None:
    assert len(time_zones()) > 400
    for zone in time_zones():
        assert zoneinfo.ZoneInfo(zone).key == zone
