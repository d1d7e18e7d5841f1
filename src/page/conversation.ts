import type { Message, Question } from './server-client.ts';

/** A question and its answer; or a text and the model's continuation. */
export interface Turn {
  readonly question: string;
  answer: string;
}

/** The turns so far. Models without a chat template continue texts, each separately. */
export class Conversation {
  mode: 'chat' | 'text' = 'chat';
  #turns: Turn[] = [];

  get last(): Turn | undefined {
    return this.#turns.at(-1);
  }

  begin(question: string): Turn {
    const turn = { question, answer: '' };
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
      messages.push({ role: 'user', content: turn.question });
      if (turn !== last) messages.push({ role: 'assistant', content: turn.answer });
    }
    return { messages };
  }
}
