// Loaded into the server's process: says what memory is left after a garbage collection, and how long the event loop was held.
const TICK_MILLISECONDS = 5;

/** CPU time of the main thread, not the clock's: on a busy machine the thread often waits for a core. */
let longest = 0;
let before = process.threadCpuUsage();
setInterval(() => {
  const { user, system } = process.threadCpuUsage(before);
  before = process.threadCpuUsage();
  longest = Math.max(longest, (user + system) / 1000);
}, TICK_MILLISECONDS).unref();

process.on('message', (question) => {
  if (question === 'hold') {
    process.send?.(longest);
    longest = 0;
    return;
  }
  globalThis.gc?.();
  process.send?.(process.memoryUsage());
  // That was ours.
  before = process.threadCpuUsage();
});
// This alone does not keep the process running.
process.channel?.unref();
