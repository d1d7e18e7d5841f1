import { LLM, Mamba2Error } from 'mamba2';

const form = /** @type {HTMLFormElement} */ (document.querySelector('form'));
const status = /** @type {HTMLElement} */ (document.querySelector('#status'));
const answer = /** @type {HTMLElement} */ (document.querySelector('#answer'));

/** The model that was loaded last, by its name. @type {{ name: string, llm: LLM } | undefined} */
let loaded;

form.addEventListener('submit', async (event) => {
  event.preventDefault();
  const { model, prompt } = /** @type {Record<string, string>} */ (Object.fromEntries(new FormData(form)));
  try {
    const llm = await load(model);
    answer.textContent = prompt;
    for await (const { text } of llm.generate(prompt, { maxTokens: 60, temperature: 0 })) answer.textContent += text;
    status.textContent = 'Done.';
  } catch (error) {
    status.textContent = error instanceof Mamba2Error ? error.message : String(error);
  }
});

/**
 * Files are fetched once and kept in the browser. Fetching and computing are done by workers, so the page stays
 * responsive.
 * @param {string} name a hub id, or the URL of a folder @returns {Promise<LLM>}
 */
async function load(name) {
  if (loaded?.name === name) return loaded.llm;
  await loaded?.llm.dispose();
  loaded = undefined;
  const llm = await LLM.load(name, {
    tensorParallelSize: 'auto',
    onProgress: ({ progress }) => {
      if (progress !== undefined) status.textContent = `Loading: ${Math.round(progress)} %`;
    },
  });
  loaded = { name, llm };
  status.textContent = `Running on ${llm.device.device}.`;
  return llm;
}
