import { expect, test } from 'vitest';
import { CHAT_TEMPLATE, readEvents, sharedServer } from './test-server.ts';

const server = await sharedServer({ chatTemplate: CHAT_TEMPLATE }, { enablePrefixCaching: false });
const LAYERS = 14;
const HEADS = 8;

interface Choice {
  readonly text?: string;
  readonly delta?: { readonly content: string };
  readonly half_lives?: readonly (readonly (number | null)[])[];
}

const prompt = 'export interface User {\n';
const common = { max_tokens: 9, temperature: 0, ignore_eos: true, half_life_interval: 4 };
const bodies = {
  '/v1/completions': { ...common, prompt },
  '/v1/chat/completions': { ...common, messages: [{ role: 'user', content: prompt }] },
};

const choicesOf = ({ choices }: Record<string, unknown>) => choices as readonly Choice[];
const textOf = ({ text, delta }: Choice) => text ?? delta?.content;

test.each(Object.entries(bodies))(
  '%s: half-lives come with the text, as the library gives them',
  async (path, body) => {
    const response = await server.post(path, { ...body, stream: true });
    const choices = (await readEvents(response)).events.flatMap(choicesOf);
    const reports = choices.flatMap(({ half_lives }) => (half_lives ? [half_lives] : []));
    expect(reports).toHaveLength(3);
    for (const report of reports) {
      expect(report.map(({ length }) => length)).toEqual(new Array(LAYERS).fill(HEADS));
      expect(report.flat().every((value) => value === null || value > 0)).toBe(true);
    }
    const whole = choicesOf(await (await server.post(path, body)).json());
    expect(whole[0].half_lives).toEqual(reports[2]);
    const plain = await readEvents(await server.post(path, { ...body, stream: true, half_life_interval: undefined }));
    const plainChoices = plain.events.flatMap(choicesOf);
    expect(plainChoices.some((choice) => 'half_lives' in choice)).toBe(false);
    expect(plainChoices.map(textOf).join('')).toBe(choices.map(textOf).join(''));
  },
);

test('the numbers are the library’s, to four digits', async () => {
  const { choices } = await (await server.post('/v1/completions', { ...bodies['/v1/completions'], n: 1 })).json();
  const reports = [];
  const options = { temperature: 0, maxTokens: 9, ignoreEos: true, halfLifeInterval: 4 };
  for await (const { halfLives } of server.llm.generate(prompt, options)) if (halfLives) reports.push(halfLives);
  const expected = reports[2].map((layer) => Array.from(layer, (value) => Number(value.toPrecision(4))));
  expect(choices[0].half_lives).toEqual(expected);
});

test('an interval that is none is refused, under the name of the field', async () => {
  const response = await server.post('/v1/completions', { ...bodies['/v1/completions'], half_life_interval: 0 });
  expect(response.status).toBe(400);
  expect((await response.json()).error).toMatchObject({ param: 'half_life_interval' });
});

test('the list of models says whether they take conversations', async () => {
  const { data } = await (await server.get('/v1/models')).json();
  expect(data[0]).toMatchObject({ id: 'tiny-dts', has_chat_template: true });
});
