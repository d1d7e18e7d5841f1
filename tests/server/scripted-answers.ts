import { afterEach, expect } from 'vitest';
import type { LLM } from '../../src/engine/llm.ts';
import type { EngineRequest } from '../../src/engine/request/engine-request.ts';
import type { FinishReason, OutputToken } from '../../src/engine/request/request-output.ts';
import { RequestStream } from '../../src/engine/request/request-stream.ts';

/** A model that answers what a test says, in place of what it computes. */
export interface Script {
  /** Texts of the next requests' answers, one of which each takes. */
  readonly answers: string[];
  /** The requests so far. */
  readonly requests: EngineRequest[];
  /** Lets the model answer again. */
  readonly end: () => void;
}

/** Makes a model's engine give scripted answers, a token at a time; an answer is cut off at the request's `maxTokens`. */
export function scripted(llm: LLM): Script {
  const { tokenizer } = llm;
  const { addRequest } = llm.engine;
  const end = () => {
    llm.engine.addRequest = addRequest;
  };
  const script: Script = { answers: [], requests: [], end };
  if (!tokenizer) throw new Error('The model has no tokenizer.');
  let count = 0;
  llm.engine.addRequest = (request) => {
    script.requests.push(request);
    const { n, maxTokens } = request.params;
    const text = maxTokens === 0 ? '' : (script.answers.shift() ?? '');
    const ids = tokenizer.encode(text, { addSpecialTokens: false });
    const requestId = request.requestId ?? String(count++);
    const stream = new RequestStream(requestId, { onRead: () => {}, onReturn: () => {} });
    const taken = (ids.length === 0 ? [0] : ids).slice(0, maxTokens);
    void (async () => {
      if (taken.length === 0) stream.push({ requestId, numCachedTokens: 0, outputs: [], finished: true });
      for (const [i, tokenId] of taken.entries()) {
        await new Promise((resolve) => setImmediate(resolve));
        const isLast = i === taken.length - 1;
        const finishReason: FinishReason | null = !isLast ? null : taken.length < ids.length ? 'length' : 'stop';
        const token: OutputToken = { tokenId, logprob: -1, text: text && tokenizer.tokenText(tokenId) };
        const outputs = Array.from({ length: n }, (_, index) => ({
          index,
          text: token.text,
          tokens: [token],
          finishReason,
          stopReason: null,
        }));
        stream.push({ requestId, numCachedTokens: 0, outputs, finished: isLast });
      }
    })();
    return stream;
  };
  return script;
}

/**
 * Scripted answers for a file's tests: after each, the script is empty again, and a test that changed how the engine takes
 * requests is undone.
 * @returns the script, how the engine takes requests with it, and how it takes them by itself
 */
export function scriptedForEach(llm: LLM) {
  const addRequest = llm.engine.addRequest.bind(llm.engine);
  const script = scripted(llm);
  const scriptedRequest = llm.engine.addRequest;
  afterEach(() => {
    llm.engine.addRequest = scriptedRequest;
    script.requests.length = 0;
    expect(script.answers.splice(0)).toEqual([]);
  });
  return { script, scriptedRequest, addRequest };
}
