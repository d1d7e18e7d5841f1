import { Batcher } from './batcher.ts';
import { Composer } from './composer.ts';
import { byId, element } from './element.ts';
import { MemoryPanel } from './memory/memory-panel.ts';
import { ModelPicker } from './model-picker.ts';
import { type AnswerPiece, type ModelCard, type ServerClient, ServerError, type Usage } from './server-client.ts';
import { answerFields, type SettingsForm } from './settings.ts';
import { Conversation, type Turn } from './turns/conversation.ts';
import type { ToolResult } from './turns/tool-calls.ts';
import { Transcript } from './turns/transcript.ts';
import type { TurnView } from './turns/turn-view.ts';

const SUGGESTIONS = {
  completion: ['export interface User {\n', 'Options of a server.', 'A queue of jobs, and its workers'],
  chat: ['What is a state-space model?', 'Write a haiku about memory.', 'Explain recursion to a child.'],
  text: ['export interface User {\n', '/** Options of a server. */\nexport interface ', 'Once upon a time'],
} as const;

const WELCOME = {
  completion:
    'This model was not trained on conversations: its completion template turns what you write into the beginning of a text, and the model continues it. Watch how long it remembers.',
  chat: 'Ask something, and watch how long the model remembers.',
  text: 'This model has no chat template: it continues texts. Begin one, and watch how long the model remembers.',
} as const;

/** The page: a conversation, and a picture of the model's memory next to it. */
export class ChatPage {
  readonly #client: ServerClient;
  readonly #settings: SettingsForm;
  readonly #conversation = new Conversation();
  readonly #transcript = new Transcript();
  readonly #composer = new Composer();
  readonly #memory = new MemoryPanel();
  readonly #picker = new ModelPicker();
  #model: ModelCard | undefined;
  /** View of the last turn. */
  #view: TurnView | undefined;
  #running: AbortController | undefined;

  constructor(client: ServerClient, settings: SettingsForm) {
    this.#client = client;
    this.#settings = settings;
    this.#composer.onSubmit = (text) => void this.#submit(text);
    this.#picker.onChoose = (model) => this.#choose(model);
    this.#composer.onStop = () => this.#running?.abort();
    this.#transcript.onPoint = (moment) => this.#memory.preview(moment);
    this.#transcript.onChoose = (moment) => this.#memory.choose(moment === this.#memory.chosen ? undefined : moment);
    this.#memory.onMoment = (moment) => this.#transcript.mark(moment);
    byId('new-conversation', HTMLButtonElement).addEventListener('click', () => this.#clear());
  }

  /** Asks the server for its models. */
  async start(): Promise<void> {
    const welcome = byId('welcome-text', HTMLElement);
    const suggestions = byId('suggestions', HTMLElement);
    try {
      const models = await this.#client.models();
      this.#picker.show(models);
      [this.#model] = models;
    } catch (error) {
      const again = element('button', { type: 'button', class: 'quiet' }, 'Try again');
      again.addEventListener('click', () => void this.start());
      welcome.setAttribute('role', 'alert');
      welcome.classList.add('failure');
      welcome.textContent = this.#explain(error);
      suggestions.replaceChildren(again);
      return;
    }
    welcome.removeAttribute('role');
    welcome.classList.remove('failure');
    this.#choose(this.#model);
  }

  /** Continues with a model. One that only continues texts can't continue a conversation, nor the other way round. */
  #choose(model: ModelCard): void {
    const mode = model.has_chat_template ? 'chat' : 'text';
    const manner = model.chat_template_kind ?? 'text';
    if (this.#conversation.mode !== mode) this.#clear();
    this.#model = model;
    this.#conversation.mode = mode;
    this.#composer.setMode(mode);
    this.#settings.setMode(mode);
    byId('welcome-text', HTMLElement).textContent = WELCOME[manner];
    const suggestions = SUGGESTIONS[manner].map((text) => this.#suggestion(text));
    byId('suggestions', HTMLElement).replaceChildren(...suggestions);
  }

  #suggestion(text: string): HTMLButtonElement {
    const button = element('button', { type: 'button', class: 'suggestion' }, text);
    button.addEventListener('click', () => {
      this.#composer.text = text;
    });
    return button;
  }

  async #submit(text: string): Promise<void> {
    if (this.#model === undefined) await this.start();
    if (this.#model === undefined) {
      this.#composer.text = text;
      return;
    }
    if (!this.#settings.check()) {
      this.#composer.text = text;
      this.#settings.showProblem();
      return;
    }
    const { last } = this.#conversation;
    if (text.trim() === '' && last !== undefined && this.#view) await this.#run(this.#model, last, this.#view);
    else await this.#begin(this.#model, text);
  }

  /** Begins a turn with a question, with the results of calls, or with both: a question does not wait for results. */
  async #begin(model: ModelCard, question: string): Promise<void> {
    const results: readonly ToolResult[] = this.#view?.takeResults() ?? [];
    const turn = this.#conversation.begin(question, results);
    this.#view = this.#transcript.add(question, this.#conversation.mode, model.chat_template_kind === 'chat');
    byId('welcome', HTMLElement).hidden = true;
    await this.#run(model, turn, this.#view);
  }

  async #run(model: ModelCard, turn: Turn, view: TurnView): Promise<void> {
    const running = new AbortController();
    this.#running = running;
    const { answer: before } = turn;
    [turn.thoughts, turn.calls] = ['', []];
    const progress = new Progress();
    view.begin();
    this.#memory.begin();
    this.#composer.setBusy(true, true);
    const again = this.#againButton(() => {
      turn.answer = before;
      view.takeBack();
      void this.#run(model, turn, view);
    });
    const batcher = new Batcher((pieces: readonly AnswerPiece[]) =>
      this.#transcript.grow(() => this.#show(pieces, view)),
    );
    try {
      const { values } = this.#settings;
      const asked = this.#conversation.question(values.systemPrompt);
      const question = 'messages' in asked && values.tools ? { ...asked, tools: values.tools } : asked;
      for await (const piece of this.#client.answer(model, question, answerFields(values), running.signal)) {
        if (running.signal.aborted) break;
        progress.add(piece);
        turn.answer += piece.text;
        turn.thoughts += piece.reasoning ?? '';
        batcher.add(piece);
      }
      batcher.flush();
      this.#transcript.grow(() => view.end(running.signal.aborted ? 'Stopped.' : progress.note(), again));
    } catch (error) {
      batcher.flush();
      const isStopped = running.signal.aborted;
      this.#transcript.grow(() => (isStopped ? view.end('Stopped.', again) : view.fail(this.#explain(error), again)));
    }
    if (this.#running !== running) return;
    this.#running = undefined;
    turn.calls = view.calls;
    this.#transcript.grow(() => view.askForResults(() => this.#sendResults(model)));
    this.#composer.setBusy(false, true);
  }

  #sendResults(model: ModelCard): void {
    if (!this.#running) void this.#begin(model, '');
  }

  #show(pieces: readonly AnswerPiece[], view: TurnView): void {
    for (const piece of pieces) {
      const moment = view.add(piece);
      if (!moment) continue;
      this.#transcript.remember(moment);
      this.#memory.add(moment);
    }
    view.draw();
    this.#memory.update();
  }

  #againButton(again: () => void): HTMLButtonElement {
    const button = element('button', { type: 'button', class: 'quiet again' }, 'Try again');
    button.addEventListener('click', () => {
      if (!this.#running) again();
    });
    return button;
  }

  /** Describes an error in plain words; opens the settings if they can help. */
  #explain(error: unknown): string {
    if (!(error instanceof ServerError)) return `The page failed: ${error instanceof Error ? error.message : error}`;
    if (error.needsKey) this.#settings.open('apiKey');
    return error.message;
  }

  #clear(): void {
    this.#running?.abort();
    this.#running = undefined;
    this.#conversation.clear();
    this.#transcript.clear();
    this.#memory.begin();
    this.#view = undefined;
    this.#composer.setBusy(false, false);
    byId('welcome', HTMLElement).hidden = false;
    this.#composer.text = '';
  }
}

/** The note under an answer. */
class Progress {
  readonly #begun = performance.now();
  #first: number | undefined;
  #last = this.#begun;
  #usage: Usage | undefined;
  #finishReason: string | undefined;

  add({ text, reasoning, calls, usage, finishReason }: AnswerPiece): void {
    if (text !== '' || reasoning !== undefined || calls !== undefined) {
      this.#last = performance.now();
      this.#first ??= this.#last;
    }
    this.#usage = usage ?? this.#usage;
    this.#finishReason = finishReason ?? this.#finishReason;
  }

  note(): string {
    const {
      completion_tokens: tokens = 0,
      prompt_tokens: prompt = 0,
      prompt_tokens_details: details,
    } = this.#usage ?? {};
    const first = this.#first ?? this.#last;
    const seconds = (this.#last - first) / 1000;
    const cached = details?.cached_tokens ?? 0;
    const parts = [
      `${tokens} ${tokens === 1 ? 'token' : 'tokens'}`,
      tokens > 1 && seconds > 0 ? `${Math.round((tokens - 1) / seconds)} a second` : [],
      `first after ${Math.round(first - this.#begun)} ms`,
      cached > 0 ? `${cached} of ${prompt} prompt tokens known before` : `${prompt} prompt tokens read`,
      this.#finishReason === 'length' ? 'ended at the limit' : [],
    ];
    return parts.flat().join(' · ');
  }
}
