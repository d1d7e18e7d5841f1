import type { Message, Question } from '../server-client.ts';
import type { ToolCall, ToolResult } from './tool-calls.ts';

/** A question and its answer; or a text and the model's continuation; or results of calls and what the model makes of them. */
export interface Turn {
  /** Empty where the turn begins with results alone. */
  readonly question: string;
  /** Results of the calls of the turn before. */
  readonly results: readonly ToolResult[];
  answer: string;
  thoughts: string;
  calls: readonly ToolCall[];
}

/** The turns so far. Models without a chat template continue texts, each separately. */
export class Conversation {
  mode: 'chat' | 'text' = 'chat';
  #turns: Turn[] = [];

  get last(): Turn | undefined {
    return this.#turns.at(-1);
  }

  begin(question: string, results: readonly ToolResult[] = []): Turn {
    const turn: Turn = { question, results, answer: '', thoughts: '', calls: [] };
    this.#turns.push(turn);
    return turn;
  }

  clear(): void {
    this.#turns = [];
  }

  /** The request to the server for the last turn. */
  question(systemPrompt: string): Question {
    const { last } = this;
    if (this.mode === 'text') return { prompt: last ? last.question + last.answer : '' };
    const messages: Message[] = systemPrompt ? [{ role: 'system', content: systemPrompt }] : [];
    for (const turn of this.#turns) {
      for (const { call, content } of turn.results) messages.push({ role: 'tool', tool_call_id: call.id, content });
      if (turn.question !== '') messages.push({ role: 'user', content: turn.question });
      if (turn !== last) messages.push(answerOf(turn));
    }
    return { messages };
  }
}

function answerOf({ answer, thoughts, calls }: Turn): Message {
  return {
    role: 'assistant',
    content: answer,
    ...(thoughts !== '' && { reasoning_content: thoughts }),
    ...(calls.length > 0 && { tool_calls: calls }),
  };
}
