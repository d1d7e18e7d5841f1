import { ChatPage } from './chat-page.ts';
import { ServerClient } from './server-client.ts';
import { SettingsForm } from './settings.ts';

const settings = new SettingsForm();
const client = new ServerClient(document.baseURI, () => settings.values.apiKey);
void new ChatPage(client, settings).start();
