import fc from 'fast-check';
import { expect, test } from 'vitest';
import { linkPair } from '../../src/distributed/link.ts';
import { ArgumentError } from '../../src/errors.ts';
import { runs } from '../runs.ts';

test('messages arrive whole and in order, whichever side waits for the other', async () => {
  const messages = fc.array(fc.uint8Array({ maxLength: 200 }), { maxLength: 20 });
  const property = fc.asyncProperty(messages, fc.array(fc.boolean()), async (sent, isSendFirst) => {
    const [here, there] = linkPair();
    const received = sent.map(({ length }) => new Uint8Array(length));
    const calls = sent.flatMap((message, i) => {
      const both = [() => here.send(message), () => there.receive(received[i])];
      return (isSendFirst[i] ? both : both.reverse()).map((call) => call());
    });
    await Promise.all(calls);
    expect(received).toEqual(sent);
  });
  await fc.assert(property, { numRuns: runs(100) });
});

test('a sender may change its bytes afterwards', async () => {
  const [here, there] = linkPair();
  const bytes = Uint8Array.of(1, 2, 3);
  await here.send(bytes);
  bytes.fill(9);
  const into = new Uint8Array(3);
  await there.receive(into);
  expect([...into]).toEqual([1, 2, 3]);
});

test('a message of another length is refused', async () => {
  const [here, there] = linkPair();
  await here.send(new Uint8Array(3));
  await expect(there.receive(new Uint8Array(4))).rejects.toThrow(
    new ArgumentError('A message has 3 bytes, and 4 were expected.'),
  );
});

test('a receiver that is aborted rejects with the reason', async () => {
  const [, there] = linkPair();
  const aborting = new AbortController();
  const receiving = there.receive(new Uint8Array(1), aborting.signal);
  aborting.abort(new RangeError('enough'));
  await expect(receiving).rejects.toThrow(new RangeError('enough'));
  await expect(there.receive(new Uint8Array(1), aborting.signal)).rejects.toThrow(new RangeError('enough'));
});
