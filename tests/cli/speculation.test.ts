import { expect, test } from 'vitest';
import { speculativeOption } from '../../src/cli/options/speculative-option.ts';
import { UsageError } from '../../src/cli/options/usage-error.ts';

const read = (text: string) => speculativeOption().read([text], '--speculative-config');

test("--speculative-config has vLLM's names", () => {
  expect(read('{"method": "ngram", "num_speculative_tokens": 8, "prompt_lookup_max": 4}')).toEqual({
    method: 'ngram',
    numSpeculativeTokens: 8,
    promptLookupMin: 3,
    promptLookupMax: 4,
  });
  const draft = '{"method": "draft_model", "model": "tiny-dts", "num_speculative_tokens": 3}';
  expect(read(draft)).toEqual({ method: 'draft_model', model: 'tiny-dts', numSpeculativeTokens: 3 });
  expect(speculativeOption().read([], '--speculative-config')).toBeUndefined();
});

test.each([
  ['{', /is not JSON/],
  ['[]', /no JSON object/],
  ['{"method": "ngram"}', /numSpeculativeTokens is undefined/],
  ['{"method": "ngram", "num_speculative_tokens": 0}', /numSpeculativeTokens is 0/],
  ['{"method": "mtp", "num_speculative_tokens": 1}', /method is 'mtp'/],
  ['{"method": "draft_model", "num_speculative_tokens": 1}', /names no model/],
  ['{"method": "ngram", "num_speculative_tokens": 1, "draft": 2}', /has 'draft'/],
  ['{"method": "ngram", "num_speculative_tokens": 1, "prompt_lookup_min": 5, "prompt_lookup_max": 2}', /more than/],
])('%s is refused', (text, problem) => {
  expect(() => read(text)).toThrow(UsageError);
  expect(() => read(text)).toThrow(problem);
});
