import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js';
import { afterAll, expect, test } from 'vitest';
import type { JsonValue } from '../../src/checkpoint/json/json-parser.ts';
import { StructuredOutputsError } from '../../src/errors.ts';
import { jsonSchemaGrammar } from '../../src/grammar/forms/json-schema.ts';
import { bundledTokenizer } from '../text/tokenizers.ts';
import { RandomAnswers } from './answers.ts';

/**
 * JSON Schema's official suite, where it is: `npm install --no-save @json-schema-org/tests` fetches it from GitHub. It is no
 * dependency, since installing it needs git.
 */
const SUITE = new URL('../../node_modules/json-schema-test-suite/tests/draft2020-12/', import.meta.url);
const files = existsSync(SUITE) ? readdirSync(SUITE).filter((name) => name.endsWith('.json')) : [];

/** Longer texts take long, and show nothing else. */
const MAX_CHARACTERS = 500;

interface Group {
  readonly description: string;
  readonly schema: JsonValue;
  readonly tests: readonly { readonly description: string; readonly data: JsonValue; readonly valid: boolean }[];
}

const answers = new RandomAnswers(await bundledTokenizer(), 0);
afterAll(() => answers.grammars.dispose());

function isSupported(schema: JsonValue): boolean {
  try {
    jsonSchemaGrammar(schema);
    return true;
  } catch (error) {
    if (error instanceof StructuredOutputsError) return false;
    throw error;
  }
}

/** Undefined for schemas of meta-schemas that ajv does not have. */
function validator(schema: JsonValue): ValidateFunction | undefined {
  try {
    return new Ajv2020({ strict: false, validateFormats: false, logger: false }).compile(Object(schema));
  } catch {
    return undefined;
  }
}

// A file without any test would count as a mistake.
test.skipIf(files.length === 0).each(files.length === 0 ? ['not installed'] : files)(
  'the official suite: %s',
  async (file) => {
    const groups: readonly Group[] = JSON.parse(readFileSync(new URL(file, SUITE), 'utf8'));
    for (const { description, schema, tests } of groups.filter((group) => isSupported(group.schema))) {
      const json = JSON.stringify(schema);
      for (const { description: what, data, valid } of tests) {
        const text = JSON.stringify(data);
        if (valid || text.length > MAX_CHARACTERS) continue;
        const isAccepted = await answers.accepts({ json }, text, 1);
        expect([description, what, isAccepted]).toEqual([description, what, false]);
      }
      const validate = typeof schema === 'boolean' ? () => schema : validator(schema);
      for (let seed = 0; validate && seed < 5; seed++) {
        const text = await answers.answer({ json }, seed, 200);
        if (text !== undefined)
          expect([description, text, validate(JSON.parse(text))]).toEqual([description, text, true]);
      }
    }
  },
);
