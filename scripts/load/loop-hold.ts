// Sends requests that could hold the server's event loop, one after the other, and fails where one does for too long.
import { HOSTILE_BODIES } from './hostile-bodies.ts';
import { ServerProcess } from './server-process.ts';

/** CPU time of the main thread, in milliseconds, that one turn of its event loop may take. */
const MOST_MILLISECONDS = 50;

const server = await ServerProcess.start(['--max-queue-size', '256']);
let worst = 0;
try {
  await server.longestHold();
  for (const { name, path, body } of HOSTILE_BODIES) {
    const init = { method: 'POST', body, headers: { 'content-type': 'application/json' } };
    const response = await fetch(`${server.url}${path}`, init);
    await response.arrayBuffer();
    const hold = await server.longestHold();
    worst = Math.max(worst, hold);
    console.log(
      `${name.padEnd(40)} ${(body.length / 2 ** 20).toFixed(2)} MiB  ${response.status}  ${hold.toFixed(1)} ms`,
    );
  }
} finally {
  await server.stop();
}
console.log(`longest: ${worst.toFixed(1)} ms; ${MOST_MILLISECONDS} ms are allowed`);
if (worst > MOST_MILLISECONDS) process.exitCode = 1;
