// Loaded into the server's process: collects garbage and says what is left when it is asked.
process.on('message', () => {
  globalThis.gc?.();
  process.send?.(process.memoryUsage());
});
// Nobody waits for this alone.
process.channel?.unref();
