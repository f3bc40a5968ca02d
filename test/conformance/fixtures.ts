import { Server } from '@modelcontextprotocol/sdk/server/index.js';
import {
  CallToolRequestSchema,
  CompleteRequestSchema,
  GetPromptRequestSchema,
  ListPromptsRequestSchema,
  ListResourcesRequestSchema,
  ListToolsRequestSchema,
  type PromptMessage,
  ReadResourceRequestSchema,
  SubscribeRequestSchema,
  UnsubscribeRequestSchema,
} from '@modelcontextprotocol/sdk/types.js';
import type { HttpMcpSession } from '../../src/server/mcp-http.ts';
import { callFixture, fixtureTools, pngBase64 } from './tools.ts';

/** The MCP server that the conformance suite expects: its own tools, prompts and resources behind our HTTP. */
export function createFixtureSession(): HttpMcpSession {
  const server = new Server(
    { name: 'tandem-conformance', version: '0' },
    { capabilities: { tools: {}, prompts: {}, resources: { subscribe: true }, logging: {}, completions: {} } },
  );
  offerTools(server);
  offerPrompts(server);
  offerResources(server);
  return {
    connect: (transport) => server.connect(transport),
    close: () => server.close(),
    set onClose(listener: () => void) {
      server.onclose = listener;
    },
  };
}

function offerTools(server: Server): void {
  server.setRequestHandler(ListToolsRequestSchema, () => ({
    tools: fixtureTools.map(({ name, description, inputSchema = { type: 'object' } }) => ({
      name,
      description,
      inputSchema,
    })),
  }));
  server.setRequestHandler(CallToolRequestSchema, ({ params }, extra) => {
    const tool = fixtureTools.find(({ name }) => name === params.name);
    if (!tool) throw new Error(`There is no tool "${params.name}".`);
    return callFixture(tool, { input: params.arguments ?? {}, server, extra });
  });
}

const image = { type: 'image' as const, data: pngBase64, mimeType: 'image/png' };

const prompts: Record<
  string,
  { needs: string[]; contents(given: Record<string, string>): PromptMessage['content'][] }
> = {
  test_simple_prompt: { needs: [], contents: () => [say('This is a simple prompt for testing.')] },
  test_prompt_with_arguments: {
    needs: ['arg1', 'arg2'],
    contents: ({ arg1, arg2 }) => [say(`Prompt with arguments: arg1='${arg1}', arg2='${arg2}'`)],
  },
  test_prompt_with_embedded_resource: {
    needs: ['resourceUri'],
    contents: ({ resourceUri = '' }) => [
      {
        type: 'resource',
        resource: { uri: resourceUri, mimeType: 'text/plain', text: 'Embedded resource content for testing.' },
      },
      say('Please process the embedded resource above.'),
    ],
  },
  test_prompt_with_image: { needs: [], contents: () => [image, say('Please analyze the image above.')] },
};

function offerPrompts(server: Server): void {
  server.setRequestHandler(ListPromptsRequestSchema, () => ({
    prompts: Object.entries(prompts).map(([name, { needs }]) => ({
      name,
      description: 'A prompt of the conformance suite.',
      arguments: needs.map((argument) => ({ name: argument, required: true })),
    })),
  }));
  server.setRequestHandler(GetPromptRequestSchema, ({ params }) => {
    const prompt = prompts[params.name];
    if (!prompt) throw new Error(`There is no prompt "${params.name}".`);
    return { messages: prompt.contents(params.arguments ?? {}).map((content) => ({ role: 'user', content })) };
  });
  server.setRequestHandler(CompleteRequestSchema, () => ({ completion: { values: [], total: 0, hasMore: false } }));
}

const resources = [
  { uri: 'test://static-text', mimeType: 'text/plain', text: 'This is the content of the static text resource.' },
  { uri: 'test://static-binary', mimeType: 'image/png', blob: pngBase64 },
  { uri: 'test://watched-resource', mimeType: 'text/plain', text: 'Watch me.' },
];

function offerResources(server: Server): void {
  server.setRequestHandler(ListResourcesRequestSchema, () => ({
    resources: resources.map(({ uri, mimeType }) => ({ uri, mimeType, name: uri })),
  }));
  server.setRequestHandler(ReadResourceRequestSchema, ({ params: { uri } }) => {
    const found = resources.find((resource) => resource.uri === uri) ?? fromTemplate(uri);
    if (!found) throw new Error(`There is no resource ${uri}.`);
    return { contents: [found] };
  });
  server.setRequestHandler(SubscribeRequestSchema, () => ({}));
  server.setRequestHandler(UnsubscribeRequestSchema, () => ({}));
}

/** `test://template/{id}/data` */
function fromTemplate(uri: string) {
  const id = /^test:\/\/template\/([^/]+)\/data$/.exec(uri)?.[1];
  if (id === undefined) return null;
  const data = { id, templateTest: true, data: `Data for ID: ${id}` };
  return { uri, mimeType: 'application/json', text: JSON.stringify(data) };
}

function say(content: string): PromptMessage['content'] {
  return { type: 'text', text: content };
}
