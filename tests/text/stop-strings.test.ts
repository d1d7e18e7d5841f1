import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { SamplingParamsError } from '../../src/errors.ts';
import { StopStringMatcher } from '../../src/text/stop-strings.ts';

/** Everything that is shown of these pieces, and after how many of them it stopped. */
function run(stops: string[], pieces: string[]): { text: string; stoppedAt: number | undefined } {
  const matcher = new StopStringMatcher(stops);
  let text = '';
  for (const [i, piece] of pieces.entries()) {
    const result = matcher.push(piece);
    text += result.text;
    if (result.stopped) return { text, stoppedAt: i };
  }
  const rest = matcher.flush();
  return { text: text + rest.text, stoppedAt: rest.stopped ? pieces.length : undefined };
}

describe('StopStringMatcher', () => {
  it.each<[string[], string[], string, number | undefined]>([
    [['END'], ['a EN', 'D b'], 'a ', 1],
    [['END'], ['a EN', 'd b'], 'a ENd b', undefined],
    [['END'], ['a EN'], 'a EN', undefined],
    [['\n\n'], ['a\n', 'b\n', '\n', 'c'], 'a\nb', 2],
    [['b', 'abc'], ['ab', 'c'], '', 1],
    [['b', 'abc'], ['ab', 'd'], 'a', 1],
    [['b', 'abc'], ['ab'], 'a', 1],
    [['ab', 'abc'], ['xab', 'c'], 'x', 0],
    [['aab'], ['aa', 'ab'], 'a', 1],
    [[], ['anything'], 'anything', undefined],
    [['x'], [], '', undefined],
  ])('%j in %j', (stops, pieces, text, stoppedAt) => {
    expect(run(stops, pieces)).toEqual({ text, stoppedAt });
  });

  it('shows text that can not become a stop string at once', () => {
    const matcher = new StopStringMatcher(['END']);
    expect(matcher.push('abc E')).toEqual({ text: 'abc ', stopped: false });
    expect(matcher.push('x')).toEqual({ text: 'Ex', stopped: false });
  });

  it('stays stopped', () => {
    const matcher = new StopStringMatcher(['x']);
    expect(matcher.push('axb')).toEqual({ text: 'a', stopped: true, stop: 'x' });
    expect(matcher.push('more')).toEqual({ text: '', stopped: true, stop: 'x' });
    expect(matcher.flush()).toEqual({ text: '', stopped: true, stop: 'x' });
  });

  it('rejects an empty stop string', () => {
    expect(() => new StopStringMatcher(['a', ''])).toThrow(SamplingParamsError);
  });

  it('does not depend on how the text is cut', () => {
    const word = (maxLength: number, minLength = 0) =>
      fc.string({ unit: fc.constantFrom('a', 'b', 'c'), minLength, maxLength });
    fc.assert(
      fc.property(fc.array(word(4, 1), { maxLength: 3 }), fc.array(word(5), { maxLength: 8 }), (stops, pieces) => {
        const text = pieces.join('');
        const starts = stops.map((stop) => text.indexOf(stop)).filter((start) => start >= 0);
        const result = run(stops, pieces);
        expect(result.text).toBe(text.slice(0, Math.min(text.length, ...starts)));
        expect(result.stoppedAt !== undefined).toBe(starts.length > 0);
      }),
      { seed: 1, numRuns: 5000 },
    );
  });
});
