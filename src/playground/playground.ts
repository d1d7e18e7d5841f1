import type { ChatChunk, LLM, ProgressEvent } from '../index.ts';
import { byId } from '../page/element.ts';
import { showModelName } from '../page/model-name.ts';
import { AnswerForm } from './answer-form.ts';
import { ChatSheet } from './chat-sheet.ts';
import { FactsView } from './facts-view.ts';
import { forgetFailedLoad } from './forget-failed-load.ts';
import { loadBeside, type RunningModel } from './load-beside.ts';
import { LoadProgress } from './load-progress.ts';
import { ModeSwitch } from './mode-switch.ts';
import { type ModelChoice, ModelForm } from './model-form.ts';
import { SamplingForm } from './sampling-form.ts';
import { Speed } from './speed.ts';
import { StoredList } from './stored-list.ts';
import { TextSheet } from './text-sheet.ts';

/** The page: loads a model into this browser, and chats with it or lets it continue texts. */
export class Playground {
  readonly #model = new ModelForm();
  readonly #sampling = new SamplingForm();
  readonly #form = new AnswerForm();
  readonly #stored = new StoredList();
  readonly #facts = new FactsView();
  readonly #text = new TextSheet();
  readonly #chat = new ChatSheet();
  readonly #mode = new ModeSwitch();
  readonly #prompt = byId('prompt', HTMLTextAreaElement);
  readonly #generate = byId('generate', HTMLButtonElement);
  readonly #stop = byId('stop', HTMLButtonElement);
  readonly #progress = byId('progress', HTMLProgressElement);
  readonly #loadText = byId('load-text', HTMLElement);
  #running: RunningModel | undefined;
  #loading: AbortController | undefined;
  #answering: AbortController | undefined;

  constructor() {
    this.#model.onLoad = (choice) => void this.#load(choice);
    this.#model.onCancel = () => this.#loading?.abort();
    this.#stored.onChoose = (source) => {
      this.#model.source = source;
    };
    this.#mode.onNewConversation = () => {
      this.#answering?.abort();
      this.#chat.clear();
    };
    this.#chat.onResults = () => void this.#run(true);
    byId('composer', HTMLFormElement).addEventListener('submit', (event) => {
      event.preventDefault();
      void this.#run();
    });
    this.#prompt.addEventListener('keydown', (event) => {
      if (event.key !== 'Enter' || event.isComposing || !this.#mode.sends(event)) return;
      event.preventDefault();
      void this.#run();
    });
    this.#stop.addEventListener('click', () => this.#answering?.abort());
    document.addEventListener('keydown', (event) => {
      if (event.key === 'Escape') this.#answering?.abort();
    });
  }

  /** Loads the first model. */
  async start(): Promise<void> {
    await Promise.all([this.#stored.refresh(), this.#load(this.#model.choice)]);
  }

  /** Loads the chosen model. The running one stays until the new one has loaded. */
  async #load(choice: ModelChoice): Promise<void> {
    if (this.#loading) return;
    const loading = new AbortController();
    this.#loading = loading;
    this.#model.setBusy(true);
    this.#loadText.classList.remove('failure');
    const wasStored = await this.#stored.names();
    const progress = new LoadProgress();
    const onProgress = (event: ProgressEvent) => {
      progress.add(event);
      this.#showProgress(progress);
    };
    try {
      this.#showProgress(progress);
      const watch = { onProgress, signal: loading.signal };
      const loaded = await loadBeside(choice, this.#running, watch, (restored) => this.#begin(restored));
      this.#begin(loaded);
      this.#facts.showModel(loaded, progress);
      this.#loadText.textContent = 'Ready.';
    } catch (error) {
      const isCancelled = loading.signal.aborted;
      this.#loadText.classList.toggle('failure', !isCancelled);
      this.#loadText.textContent = isCancelled ? 'Cancelled. The fetched part is kept.' : messageOf(error);
      if (!wasStored.has(choice.source)) await forgetFailedLoad(choice.source, error);
    }
    this.#loading = undefined;
    this.#progress.hidden = true;
    this.#model.setBusy(false);
    await this.#stored.refresh();
  }

  /** @param model the model that runs from now on; undefined: none. */
  #begin(model: RunningModel | undefined): void {
    this.#answering?.abort();
    this.#running = model;
    this.#generate.disabled = model === undefined;
    this.#facts.clear();
    if (model === undefined) return;
    showModelName(model.choice.source);
    const { chatTemplateKind } = model.llm;
    this.#mode.setModel(chatTemplateKind);
    this.#chat.clear(chatTemplateKind === 'chat');
  }

  #showProgress(progress: LoadProgress): void {
    this.#progress.hidden = false;
    this.#progress.value = progress.fraction;
    this.#loadText.textContent = progress.text;
  }

  /** @param isResult whether the reader sends the results of calls, and what is in the field stays there. */
  async #run(isResult = false): Promise<void> {
    const llm = this.#running?.llm;
    const prompt = isResult ? '' : this.#prompt.value;
    const { mode } = this.#mode;
    if (llm === undefined || this.#answering || (mode === 'chat' && !isResult && prompt.trim() === '')) return;
    if (!this.#form.check(mode)) return;
    const answering = new AbortController();
    this.#answering = answering;
    this.#generate.hidden = true;
    this.#stop.hidden = false;
    const sheet = mode === 'chat' ? this.#chat : this.#text;
    const speed = new Speed(performance.now());
    try {
      for await (const piece of this.#answer(llm, prompt, answering.signal, isResult)) {
        speed.add(performance.now());
        sheet.add(piece);
        this.#facts.showSpeed(speed);
      }
      sheet.end(speed.note());
    } catch (error) {
      if (answering.signal.aborted) sheet.end('Stopped.');
      else sheet.fail(messageOf(error));
    }
    this.#facts.showMemory(llm);
    this.#answering = undefined;
    this.#generate.hidden = false;
    this.#stop.hidden = true;
  }

  #answer(
    llm: LLM,
    prompt: string,
    signal: AbortSignal,
    isResult: boolean,
  ): AsyncIterable<Pick<ChatChunk, 'text' | 'reasoning' | 'toolCalls'>> {
    const { tools, structuredOutputs } = this.#form.values;
    const options = { ...this.#sampling.values, structuredOutputs, signal };
    if (this.#mode.mode === 'chat') {
      if (!isResult) this.#prompt.value = '';
      return llm.chat(this.#chat.ask(prompt), { ...options, tools });
    }
    this.#text.begin(prompt);
    return llm.generate(prompt, options);
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
