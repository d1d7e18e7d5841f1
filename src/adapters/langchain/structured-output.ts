import type { BaseMessage } from '@langchain/core/messages';
import { JsonOutputParser, OutputParserException, parsePartialJson } from '@langchain/core/output_parsers';
import type { ChatGeneration, Generation } from '@langchain/core/outputs';
import { type Runnable, RunnableLambda } from '@langchain/core/runnables';
import { isSerializableSchema } from '@langchain/core/utils/standard_schema';
import { interopParseAsync, isInteropZodSchema } from '@langchain/core/utils/types';

/**
 * Reads answers that are JSON and nothing else. LangChain's own parsers look for fences of Markdown, which texts in JSON
 * may have. An answer to a plain JSON Schema is streamed as it grows; other schemas check and change it when it is whole.
 */
export function answerParser<T extends object>(schema: object): Runnable<BaseMessage, T> {
  if (isInteropZodSchema(schema)) {
    return RunnableLambda.from(async (message) =>
      checked(message, (value) => interopParseAsync(schema, value) as Promise<T>),
    );
  }
  if (isSerializableSchema<T>(schema)) {
    return RunnableLambda.from((message) =>
      checked(message, async (value) => {
        const result = await schema['~standard'].validate(value);
        if (!result.issues) return result.value;
        throw new Error(result.issues.map((issue) => issue.message).join('; '));
      }),
    );
  }
  return new PlainJsonParser<T>();
}

class PlainJsonParser<T extends object> extends JsonOutputParser<T> {
  static override lc_name(): string {
    return 'PlainJsonParser';
  }

  override async parse(text: string): Promise<T> {
    return parsed(text) as T;
  }

  override async parsePartialResult([{ text }]: Generation[] | ChatGeneration[]): Promise<T | undefined> {
    return (parsePartialJson(text) ?? undefined) as T | undefined;
  }
}

async function checked<T>({ text }: BaseMessage, check: (value: unknown) => Promise<T>): Promise<T> {
  const value = parsed(text);
  try {
    return await check(value);
  } catch (error) {
    throw failed(text, `does not fit the schema: ${error instanceof Error ? error.message : String(error)}`);
  }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw failed(text, 'is not whole JSON. Allow it more tokens (maxTokens)');
  }
}

function failed(text: string, problem: string): OutputParserException {
  return new OutputParserException(`The answer ${problem}.`, text);
}
