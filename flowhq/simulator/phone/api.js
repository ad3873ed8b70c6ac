/** The simulator's control API, as the phone page uses it. */

const LIMIT_MS = 70_000;

/** The answer of a call; an Error with the simulator's own sentence when it was refused. */
export async function control(call, body = {}) {
  const response = await fetch(`/control/${call}`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify(body),
    signal: AbortSignal.timeout(LIMIT_MS),
  });
  const answer = await response.json();
  if (!response.ok || answer.ok === false) {
    throw new Error(answer.error ?? `HTTP ${response.status}`);
  }
  return answer;
}

/**
 * Calls `onEvents(events)` for all that happens from now on, for ever; `onStart(reset)` each time
 * the log begins anew (the page has just opened, or the simulator was reset or restarted).
 */
export async function follow({ onStart, onEvents, onLink }) {
  let after = null;
  for (;;) {
    try {
      if (after === null) {
        after = (await control('state')).events;
        await onStart();
      }
      const { events, last } = await control('events', { after, wait: 25, limit: 2000 });
      onLink(true);
      if (last < after) {
        after = null;
      } else if (events.length) {
        after = events.at(-1).index;
        onEvents(events);
      }
    } catch {
      onLink(false);
      await new Promise((resolve) => { setTimeout(resolve, 2000); });
      after = null;
    }
  }
}
