"""Fills a database with runs, steps, mails, events and AI calls of 90 days, by SQL alone."""

import asyncpg

BIG = "lead-nurture"
SMALL = ("newsletter", "onboarding", "renewal")
WORKSPACE = "default"
STEPS = 10

# One in ten runs is of another definition; of the big one 4 % are open, 6 % failed. All ids and
# times follow from the number, so that every seeding gives the same figures.
_RUNS = """
INSERT INTO runs (id, workspace, definition, version, status, input, output, error, lead_id,
    priority, rated, seq, until, workflow_id, temporal_run_id, created_at, started_at, finished_at,
    updated_at, checked_at)
SELECT 'r' || lpad(n::text, 8, '0'), 'default',
    CASE WHEN n % 10 = 0 THEN (ARRAY['newsletter', 'onboarding', 'renewal'])[1 + n / 10 % 3]
         ELSE 'lead-nurture' END,
    1 + n % 3, status,
    json_build_object('email', 'lead' || n % 50000 || '@example.com', 'budget', n % 9000,
        'note', repeat('x', 150)),
    CASE status WHEN 'completed' THEN json_build_object('booked', n % 7 = 0) END,
    CASE status WHEN 'failed' THEN json_build_object('code',
        (ARRAY['HTTP_ERROR', 'STEP_TIMEOUT', 'AI_UNAVAILABLE'])[1 + n % 3], 'message', 'no') END,
    'l' || lpad((n % 50000)::text, 8, '0'), 3, true, 9,
    CASE status WHEN 'waiting' THEN now() + n % 14 * interval '1 day' END,
    'default/x/' || n, 't' || n, made, made + interval '50 ms',
    CASE WHEN status <> 'waiting' THEN made + interval '1 second' * (5 + n * 7919 % 5000) END,
    made, made
FROM (
    SELECT n, CASE WHEN n % 25 = 0 THEN 'waiting' WHEN n % 16 = 0 THEN 'failed'
        WHEN n % 50 = 1 THEN 'cancelled' ELSE 'completed' END AS status,
        now() - interval '90 days' * (n::float8 / $1) - interval '6 hours' AS made
    FROM generate_series(1, $1::integer) AS n
) AS made
"""
_STEPS = """
INSERT INTO run_steps (run_id, path, workspace, position, id, type, status, attempts, input,
    output, error_code, started_at, finished_at, duration_ms, until, choice)
SELECT r.id, 'step_' || k, 'default', 100000 + k, 'step_' || k,
    CASE k WHEN 3 THEN 'split' WHEN 10 THEN 'wait' ELSE (ARRAY['email', 'http', 'set'])[1 + k % 3]
    END, status, CASE WHEN (r.n + k) % 20 = 0 THEN 2 ELSE 1 END,
    json_build_object('url', 'https://example.com/' || r.n, 'note', repeat('y', 80)),
    json_build_object('status', 200, 'body', repeat('z', 80)),
    CASE status WHEN 'failed' THEN r.error ->> 'code' END,
    r.started_at + k * interval '1 second',
    CASE WHEN status <> 'waiting' THEN r.started_at + (k + 1) * interval '1 second' END,
    CASE WHEN status <> 'waiting' THEN 1000 + r.n % 500 END,
    CASE status WHEN 'waiting' THEN r.until END,
    CASE k WHEN 3 THEN (ARRAY['a', 'b'])[1 + r.n % 2] END
FROM (
    SELECT r.id, r.until, r.error, r.started_at, k, substr(r.id, 2)::integer AS n,
        CASE WHEN k = 10 AND r.status = 'waiting' THEN 'waiting'
            WHEN k = 10 AND r.status = 'failed' THEN 'failed'
            WHEN k = 7 AND substr(r.id, 2)::integer % 4 = 0 THEN 'skipped'
            ELSE 'completed' END AS status
    FROM (SELECT id, status, until, error, started_at FROM runs) AS r
    CROSS JOIN generate_series(1, 10) AS k
) AS r
"""
_LEADS = """
INSERT INTO leads (id, workspace, email, status, fields, created_at, updated_at)
SELECT 'l' || lpad(n::text, 8, '0'), 'default', 'lead' || n || '@example.com', 'new', '{}',
    now() - interval '100 days', now() FROM generate_series(0, 49999) AS n
"""
_EVENTS = """
INSERT INTO lead_events (id, workspace, lead_id, kind, at, run_id, created_at)
SELECT 'e' || kind || r.id, 'default', r.lead_id, kind, r.created_at + interval '1 hour', r.id,
    r.created_at
FROM (SELECT *, substr(id, 2)::integer AS n FROM runs) AS r
CROSS JOIN unnest(ARRAY['sent', 'opened', 'clicked', 'replied', 'booked'], ARRAY[1, 3, 7, 13, 29])
    AS stage (kind, each)
WHERE r.n % each = 0
"""
_MAILS = """
INSERT INTO mail_messages (id, workspace, step_key, run_id, definition, step_path, lead_id,
    to_address, message_id, state, attempts, sent_at, tracking_id, opened_at, clicked_at,
    replied_at, created_at)
SELECT 'm' || k || r.id, 'default', r.id || ':step_' || k, r.id, r.definition, 'step_' || k,
    r.lead_id, 'lead' || r.n % 50000 || '@example.com', '<' || k || r.id || '@example.com>', 'sent',
    1, r.created_at, 't' || k || r.id, CASE WHEN r.n % 3 = 0 THEN r.created_at END,
    CASE WHEN r.n % 7 = 0 THEN r.created_at END, CASE WHEN r.n % 13 = 0 THEN r.created_at END,
    r.created_at
FROM (SELECT *, substr(id, 2)::integer AS n FROM runs) AS r CROSS JOIN generate_series(1, 2) AS k
"""
_AI = """
INSERT INTO ai_usage (id, workspace, definition, run_id, budget_run_id, step_path, step_key,
    provider, model, state, input_tokens, output_tokens, cost, price_known, held_cost,
    held_tokens, cached, repair, at)
SELECT 'a' || r.id, 'default', r.definition, r.id, r.id, 'step_5', r.id, 'openai', 'gpt-4o-mini',
    'settled', 500, 100, 0.000135, true, 0.000135, 600, false, false, r.created_at
FROM runs AS r
"""
_DEFINITIONS = """
INSERT INTO definitions (id, workspace, name, active_version, latest_version, created_at,
    updated_at)
SELECT 'd' || name, 'default', name, 3, 3, now(), now() FROM unnest($1::text[]) AS name
"""


async def seed(url: str, runs: int) -> None:
    """Insert so many runs with ten steps, two mails and an AI call each; then vacuum."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(_DEFINITIONS, [BIG, *SMALL])
        await connection.execute(_LEADS)
        await connection.execute(_RUNS, runs)
        for statement in (_STEPS, _EVENTS, _MAILS, _AI):
            await connection.execute(statement)
        await connection.execute("VACUUM ANALYZE")
    finally:
        await connection.close()
