import { expect, test } from 'vitest';
import { sharedServer } from './test-server.ts';

const speculativeConfig = { method: 'ngram', numSpeculativeTokens: 4, promptLookupMin: 1 } as const;
const server = await sharedServer({}, { speculativeConfig });

interface Answer {
  readonly choices: readonly { readonly text: string }[];
  readonly usage: { readonly completion_tokens_details?: Record<string, number> };
}

test('guessed tokens are counted in usage and metrics, and a request may go without', async () => {
  const body = { prompt: '/** a b c d */\n'.repeat(8), max_tokens: 60, temperature: 0, ignore_eos: true };
  const ask = async (more: object): Promise<Answer> =>
    (await server.post('/v1/completions', { ...body, ...more })).json();
  const guessed = await ask({});
  const { accepted_prediction_tokens: accepted = 0, rejected_prediction_tokens: rejected = 0 } =
    guessed.usage.completion_tokens_details ?? {};
  expect(accepted).toBeGreaterThan(0);
  const plain = await ask({ num_speculative_tokens: 0 });
  expect(plain.choices).toEqual(guessed.choices);
  expect(plain.usage.completion_tokens_details).toBeUndefined();

  const text = await (await fetch(`${server.url}/metrics`)).text();
  const value = (name: string) => Number(text.match(new RegExp(`^mamba2:${name}\\{[^}]*\\} (\\d+)$`, 'm'))?.[1]);
  expect(value('spec_decode_num_drafts_total')).toBeGreaterThan(0);
  expect(value('spec_decode_num_draft_tokens_total')).toBe(accepted + rejected);
  expect(value('spec_decode_num_accepted_tokens_total')).toBe(accepted);
  expect(text).toMatch(/mamba2:spec_decode_num_accepted_tokens_per_pos_total\{position="0",/);
  const refused = await server.post('/v1/completions', { ...body, num_speculative_tokens: -1 });
  expect(refused.status).toBe(400);
});
