// The line to Python: events in their order, many in one call when they come quickly, and one at
// once when it comes alone (a call costs some milliseconds of CPU on both sides).

const BATCH = 200;
const LINE_LIMIT = 5000; // about 5 MB of texts; beyond it messages are counted, not kept
const emit = window[SETTINGS.binding].bind(window);
const documentId = `${performance.timeOrigin}-${Math.random().toString(36).slice(2)}`;
const line = [];
let calling = false;
let scheduled = false;
let overflow = 0;

function tell(event) {
  line.push({event, ready: true});
  schedule();
}

// Holds its place in the line until the promise gives the event.
function tellWhenKnown(promise) {
  const place = {event: null, ready: false};
  line.push(place);
  promise.then(
    (event) => { place.event = event; },
    () => countDrop('unreadable'),
  ).finally(() => { place.ready = true; schedule(); });
}

function hasRoom() {
  if (line.length < LINE_LIMIT) return true;
  overflow += 1;
  return false;
}

function schedule() {
  if (scheduled) return;
  scheduled = true;
  queueMicrotask(() => { scheduled = false; if (!calling) pump(); });
}

function takeBatch() {
  let count = 0;
  while (count < line.length && count < BATCH && line[count].ready) count += 1;
  const events = line.splice(0, count).map((place) => place.event).filter(Boolean);
  if (overflow && line.length === 0) {
    events.push({k: 'dropped', n: overflow});
    overflow = 0;
  }
  return events;
}

function pump() {
  const events = takeBatch();
  if (!events.length) return;
  calling = true;
  Promise.resolve(emit(JSON.stringify({d: documentId, e: events})))
    .catch(() => {
      countDrop('not_taken');
      for (const event of events) overflow += event.k === 'dropped' ? event.n : 1;
    })
    .finally(() => {
      calling = false;
      if (line.length) schedule();
      // Later, since a call that nobody takes would be made again at once, for ever.
      else if (overflow) setTimeout(schedule, 1000);
    });
}

// For the last words of a document that is about to go: does not wait for the call before.
function flush() {
  for (const place of line) place.ready = true;
  while (line.length) pump();
}
