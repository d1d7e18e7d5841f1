/** The data of server-sent events, one after another. Comments and other fields are skipped. */
export async function* eventData(body: ReadableStream<Uint8Array>): AsyncGenerator<string, void> {
  const decoder = new TextDecoder();
  const reader = body.getReader();
  let rest = '';
  try {
    for (;;) {
      const { done, value } = await reader.read();
      rest += decoder.decode(value, { stream: !done });
      const events = rest.split(/\r?\n\r?\n/);
      rest = events.pop() ?? '';
      for (const event of done ? [...events, rest] : events) {
        const lines = event.split(/\r?\n/).flatMap((line) => /^data: ?(.*)$/.exec(line)?.[1] ?? []);
        if (lines.length > 0) yield lines.join('\n');
      }
      if (done) return;
    }
  } finally {
    // Leaving early closes the connection, which ends the generation.
    await reader.cancel().catch(() => {});
  }
}
