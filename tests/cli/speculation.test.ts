import { expect, test } from 'vitest';
import { speculativeOption } from '../../src/cli/options/speculative-option.ts';
import { UsageError } from '../../src/cli/options/usage-error.ts';
import { checkSpeculativeConfig } from '../../src/engine/speculate/speculative-config.ts';
import { ArgumentError } from '../../src/errors.ts';

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

test('the library refuses settings that it does not know, as well', () => {
  const config = { method: 'ngram', numSpeculativeTokens: 4 } as const;
  const check = (more: object) => () => checkSpeculativeConfig({ ...config, ...more });
  expect(check({ promptLookUpMin: 2 })).toThrow(ArgumentError);
  expect(check({ promptLookUpMin: 2 })).toThrow(/has 'promptLookUpMin'.* promptLookupMin/);
  expect(check({ promptLookupMin: undefined, model: undefined })()).toMatchObject(config);
});

test.each([
  ['{', /is not JSON/],
  ['[]', /no JSON object/],
  ['{"method": "ngram"}', /^--speculative-config has no num_speculative_tokens\. Use a whole number/],
  ['{"num_speculative_tokens": 4}', /^--speculative-config has no method\./],
  ['{"method": "ngram", "num_speculative_tokens": "8"}', /num_speculative_tokens is '8'/],
  ['{"method": "ngram", "num_speculative_tokens": 0}', /num_speculative_tokens is 0/],
  ['{"method": "eagle", "num_speculative_tokens": 1}', /method is 'eagle'/],
  ['{"method": "mtp", "num_speculative_tokens": 1, "model": "tiny-dts"}', /has 'model', which is no setting of 'mtp'/],
  ['{"method": "draft_model", "num_speculative_tokens": 1}', /names no model/],
  ['{"method": "ngram", "num_speculative_tokens": 1, "draft": 2}', /has 'draft'; known are method, num_spec/],
  [
    '{"method": "ngram", "num_speculative_tokens": 1, "model": "tiny-dts"}',
    /^--speculative-config has 'model', which is no setting of 'ngram'. Use method, num_speculative_tokens, prompt_lookup_max/,
  ],
  [
    '{"method": "draft_model", "model": "tiny-dts", "num_speculative_tokens": 1, "prompt_lookup_min": 2}',
    /has 'prompt_lookup_min', which is no setting of 'draft_model'/,
  ],
  ['{"method": "ngram", "num_speculative_tokens": 1, "prompt_lookup_min": 5, "prompt_lookup_max": 2}', /more than/],
])('%s is refused', (text, problem) => {
  expect(() => read(text)).toThrow(UsageError);
  expect(() => read(text)).toThrow(problem);
});
