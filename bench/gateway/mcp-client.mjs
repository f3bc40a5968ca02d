// The least that speaks MCP over Streamable HTTP: one session, one call at a time.
import { Client } from 'undici';

export class McpOverHttp {
  #client;
  #path;
  #headers;
  #id = 0;

  constructor(url, headers = {}) {
    this.#client = new Client(url.origin);
    this.#path = url.pathname;
    this.#headers = { ...headers, 'content-type': 'application/json', accept: 'application/json, text/event-stream' };
  }

  async open() {
    const clientInfo = { name: 'bench', version: '1' };
    const hello = await this.#post('initialize', { protocolVersion: '2025-11-25', capabilities: {}, clientInfo });
    this.#headers['mcp-session-id'] = hello.headers['mcp-session-id'];
    await this.#post('notifications/initialized', undefined, false);
  }

  async ask(method, params) {
    const { message } = await this.#post(method, params);
    if (message?.error) throw new Error(message.error.message);
    return message.result;
  }

  close() {
    return this.#client.close();
  }

  async #post(method, params, wantsAnswer = true) {
    this.#id += 1;
    const body = JSON.stringify({ jsonrpc: '2.0', method, params, ...(wantsAnswer && { id: this.#id }) });
    const request = { path: this.#path, method: 'POST', headers: this.#headers, body };
    const { statusCode, headers, body: answer } = await this.#client.request(request);
    const text = await answer.text();
    if (statusCode >= 300) throw new Error(`${method}: HTTP ${statusCode} ${text}`);
    // Events without data come first: they say from where a lost stream goes on.
    const data = text.startsWith('{') ? text : /^data: (\{.*)$/m.exec(text)?.[1];
    return { headers, message: data && JSON.parse(data) };
  }
}
