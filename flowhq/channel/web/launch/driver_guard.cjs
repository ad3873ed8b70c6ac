// Loaded into the Playwright driver before its own code: the driver lives exactly as long as the
// daemon that holds its standard input, and not a second and a half longer.
'use strict';

const GRACE_MS = 1200; // for the clean closing that the driver starts by itself at the same time

process.stdin.once('close', () => {
  // The browsers go with it: their kernel watches over this process (see chromium beside this).
  setTimeout(() => process.kill(process.pid, 'SIGKILL'), GRACE_MS).unref();
});

// A terminal or a process group that is told to end is the daemon's business: it closes cleanly.
for (const signal of ['SIGHUP', 'SIGTERM', 'SIGINT']) process.on(signal, () => {});
