import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { SamplingParamsError } from '../../src/errors.ts';
import { StopStringMatcher } from '../../src/text/stop-strings.ts';
import { runs } from '../runs.ts';

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
  test.each<[string[], string[], string, number | undefined]>([
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

  test('shows text that can not become a stop string at once', () => {
    const matcher = new StopStringMatcher(['END']);
    expect(matcher.push('abc E')).toEqual({ text: 'abc ', stopped: false });
    expect(matcher.push('x')).toEqual({ text: 'Ex', stopped: false });
  });

  test('stays stopped', () => {
    const matcher = new StopStringMatcher(['x']);
    expect(matcher.push('axb')).toEqual({ text: 'a', stopped: true, stop: 'x' });
    expect(matcher.push('more')).toEqual({ text: '', stopped: true, stop: 'x' });
    expect(matcher.flush()).toEqual({ text: '', stopped: true, stop: 'x' });
  });

  test('rejects an empty stop string', () => {
    expect(() => new StopStringMatcher(['a', ''])).toThrow(SamplingParamsError);
  });

  test('does not depend on how the text is cut', () => {
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
      { seed: 1, numRuns: runs(5000) },
    );
  });
});

describe('hidden tokens', () => {
  type Unit = string;
  const isHidden = (unit: Unit) => unit.startsWith('<');

  /** Everything that is shown of these, of which `<x>` are tokens that the text leaves out. */
  function runMixed(stops: string[], units: Unit[]): { text: string; stop: string | undefined } {
    const matcher = new StopStringMatcher(stops);
    let text = '';
    for (const unit of units) {
      const result = isHidden(unit) ? matcher.pushHidden(unit) : matcher.push(unit);
      text += result.text;
      if (result.stopped) return { text, stop: result.stop };
    }
    const rest = matcher.flush();
    return { text: text + rest.text, stop: rest.stop };
  }

  test.each<[string[], Unit[], string, string | undefined]>([
    [['<x>'], ['a', '<x>', 'b'], 'a', '<x>'],
    [['<x>'], ['a', '<y>', 'b'], 'ab', undefined],
    [['a<x>'], ['ba', '<x>'], 'b', 'a<x>'],
    [['a<x>'], ['ba', '<y>', '<x>'], 'ba', undefined],
    [['<x>\n'], ['a', '<x>', '\n'], 'a', '<x>\n'],
    [['<x>\n'], ['a', '<x>', 'b'], 'ab', undefined],
    [['<x><y>'], ['a', '<x>', '<x>', '<y>'], 'a', '<x><y>'],
    [['ab'], ['a', '<x>', 'b', 'c'], '', 'ab'],
    [['x'], ['a', '<x>', 'b'], 'ab', undefined],
    [['>b'], ['a', '<x>', 'b'], 'ab', undefined],
    [['<x'], ['a', '<x>', 'b'], 'ab', undefined],
    [['b', 'a<x>b'], ['a', '<x>', 'b'], '', 'a<x>b'],
  ])('%j in %j', (stops, units, text, stop) => {
    expect(runMixed(stops, units)).toEqual({ text, stop });
  });

  test('stop as a search of the whole would', () => {
    const units = fc.array(fc.constantFrom('a', 'b', 'ab', '<x>', '<y>'), { maxLength: 10 });
    const stop = fc.array(fc.constantFrom('a', 'b', '<x>', '<y>'), { minLength: 1, maxLength: 3 });
    fc.assert(
      fc.property(fc.array(stop, { maxLength: 3 }), units, (stopUnits, pieces) => {
        const stops = stopUnits.map((each) => each.join(''));
        const whole = pieces.join('');
        const plain = pieces.filter((unit) => !isHidden(unit)).join('');
        // Where each character of the text stands among all.
        const places = [...whole.matchAll(/<.>|[ab]/g)].filter(([unit]) => !isHidden(unit)).map(({ index }) => index);
        const starts = stops.flatMap((each) => {
          const [inText, mixed] = [plain.indexOf(each), each.includes('<') ? whole.indexOf(each) : -1];
          return [inText < 0 ? [] : [places[inText]], mixed < 0 ? [] : [mixed]].flat();
        });
        const end = Math.min(whole.length, ...starts);
        const result = runMixed(stops, pieces);
        expect(result.text).toBe(plain.slice(0, places.filter((place) => place < end).length));
        expect(result.stop !== undefined).toBe(starts.length > 0);
      }),
      { seed: 5, numRuns: runs(5000) },
    );
  });
});
