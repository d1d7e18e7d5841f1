import fc from 'fast-check';
import { expect, test } from 'vitest';
import { CollectedBlocks, ContentBlocks } from '../../src/server/anthropic/content-blocks.ts';
import type { MessageEvent } from '../../src/server/anthropic/message.ts';
import { AnswerParser } from '../../src/text/parsers/answer-parser.ts';
import { chooseToolDialect } from '../../src/text/parsers/choose-parsers.ts';
import { runs } from '../runs.ts';

const tools = [{ name: 'f' }, { name: 'g' }];

/** The events of an answer that comes in pieces. */
function eventsOf(pieces: readonly string[], eager: readonly string[] = []): MessageEvent[] {
  const dialect = chooseToolDialect('', 'hermes');
  const parser = new AnswerParser({
    toolCalls: dialect && { dialect, tools },
    reasoning: { begin: '<think>', end: '</think>', isOpen: undefined },
  });
  const blocks = new ContentBlocks('signed', new Set(eager));
  const deltas = [...pieces.map((piece) => parser.push(piece)), parser.flush()];
  return [...deltas.flatMap((each) => [...blocks.push(each)]), ...blocks.end()];
}

/** The blocks of events, without the random ids of calls. */
function blocksOf(events: readonly MessageEvent[]): object[] {
  const collected = new CollectedBlocks();
  for (const event of events) collected.add(event);
  return collected.blocks.map((block) => (block.type === 'tool_use' ? { ...block, id: '' } : block));
}

const call = fc
  .tuple(fc.constantFrom('f', 'g'), fc.dictionary(fc.string(), fc.jsonValue({ maxDepth: 2 }), { maxKeys: 3 }))
  .map(([name, input]) => `<tool_call>\n${JSON.stringify({ name, arguments: input })}\n</tool_call>`);
const malformed = fc.constantFrom(
  '<tool_call>{"name": "f", "arguments": {"a": b}}</tool_call>',
  '<tool_call>{"name": "f", "arguments": {"a": "b',
  '<tool_call>{"nam',
);
const answer = fc
  .tuple(
    fc.constantFrom('', '<think>\nHm.\n</think>\n\n', '<think>Hm.'),
    fc.array(fc.oneof(call, malformed, fc.string({ unit: 'grapheme', maxLength: 8 })), { maxLength: 5 }),
  )
  .map(([thoughts, parts]) => thoughts + parts.join(''));

test('blocks are the same however the answer is cut', () => {
  fc.assert(
    fc.property(answer, fc.array(fc.nat(), { maxLength: 6 }), (text, cuts) => {
      const whole = blocksOf(eventsOf([text]));
      expect(blocksOf(eventsOf(text.split('')))).toEqual(whole);
      const places = [0, ...cuts.map((cut) => cut % (text.length + 1)).sort((a, b) => a - b), text.length];
      const pieces = places.slice(1).map((end, i) => text.slice(places[i], end));
      expect(blocksOf(eventsOf(pieces))).toEqual(whole);
    }),
    { numRuns: runs(1000) },
  );
});

test('one block is open at a time, and each is closed', () => {
  fc.assert(
    fc.property(answer, fc.subarray(['f', 'g']), (text, eager) => {
      let open: number | undefined;
      let count = 0;
      for (const event of eventsOf(text.split(''), eager)) {
        if (event.type === 'content_block_start') {
          expect(open).toBeUndefined();
          expect(event.index).toBe(count++);
          open = event.index;
        } else if ('index' in event) {
          expect(event.index).toBe(open);
          if (event.type === 'content_block_stop') open = undefined;
        }
      }
      expect(open).toBeUndefined();
    }),
    { numRuns: runs(500) },
  );
});
