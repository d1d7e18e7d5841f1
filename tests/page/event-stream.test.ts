import fc from 'fast-check';
import { expect, test } from 'vitest';
import { eventData } from '../../src/page/event-stream.ts';
import { runs } from '../runs.ts';

/** A body that comes in pieces of these sizes. */
function bodyInPieces(bytes: Uint8Array, sizes: readonly number[]): ReadableStream<Uint8Array> {
  let at = 0;
  let turn = 0;
  return new ReadableStream({
    pull(controller) {
      if (at >= bytes.length) return controller.close();
      const size = sizes.length === 0 ? bytes.length : sizes[turn++ % sizes.length];
      controller.enqueue(bytes.subarray(at, at + size));
      at += size;
    },
  });
}

async function read(body: ReadableStream<Uint8Array>): Promise<string[]> {
  const found: string[] = [];
  for await (const data of eventData(body)) found.push(data);
  return found;
}

const bytes = (text: string) => new TextEncoder().encode(text);

test('however the bytes are cut, the events are the same', async () => {
  const property = fc.asyncProperty(
    fc.array(fc.json({ noUnicodeString: false }), { maxLength: 6 }),
    fc.array(fc.integer({ min: 1, max: 7 }), { maxLength: 5 }),
    async (events, sizes) => {
      const body = bytes(events.map((event) => `data: ${event}\n\n`).join(''));
      expect(await read(bodyInPieces(body, sizes))).toEqual(events);
    },
  );
  await fc.assert(property, { seed: 1, numRuns: runs(200) });
});

test('comments, other fields and either kind of line end', async () => {
  const text = ': hello\n\nevent: x\r\ndata: one\r\n\r\ndata:two\ndata: lines\n\ndata: last without an end';
  expect(await read(bodyInPieces(bytes(text), [3]))).toEqual(['one', 'two\nlines', 'last without an end']);
});

test('leaving early cancels the body', async () => {
  let isCancelled = false;
  const body = new ReadableStream<Uint8Array>({
    pull: (controller) => controller.enqueue(bytes('data: more\n\n')),
    cancel: () => {
      isCancelled = true;
    },
  });
  for await (const _ of eventData(body)) break;
  expect(isCancelled).toBe(true);
});
