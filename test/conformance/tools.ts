import { setTimeout as pause } from 'node:timers/promises';
import type { Server } from '@modelcontextprotocol/sdk/server/index.js';
import type { RequestHandlerExtra } from '@modelcontextprotocol/sdk/shared/protocol.js';
import type {
  CallToolResult,
  ContentBlock,
  ElicitRequestFormParams,
  ServerNotification,
  ServerRequest,
  Tool,
} from '@modelcontextprotocol/sdk/types.js';

interface Call {
  input: Record<string, unknown>;
  server: Server;
  extra: RequestHandlerExtra<ServerRequest, ServerNotification>;
}

/** A tool that the suite expects to find, under the suite's name for it. */
export interface FixtureTool {
  name: string;
  description: string;
  inputSchema?: Tool['inputSchema'];
  call(call: Call): Promise<ContentBlock[]> | ContentBlock[];
}

/** One pixel. */
export const pngBase64 =
  'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==';
/** A header and no sound. */
const wavBase64 = 'UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAEAfAAABAAgAZGF0YQAAAAA=';

const image: ContentBlock = { type: 'image', data: pngBase64, mimeType: 'image/png' };

export const fixtureTools: readonly FixtureTool[] = [
  {
    name: 'test_simple_text',
    description: 'Answers with text.',
    call: () => text('This is a simple text response for testing.'),
  },
  { name: 'test_image_content', description: 'Answers with an image.', call: () => [image] },
  {
    name: 'test_audio_content',
    description: 'Answers with sound.',
    call: () => [{ type: 'audio', data: wavBase64, mimeType: 'audio/wav' }],
  },
  {
    name: 'test_embedded_resource',
    description: 'Answers with a resource.',
    call: () => [embedded('test://embedded-resource', 'text/plain', 'This is an embedded resource content.')],
  },
  {
    name: 'test_multiple_content_types',
    description: 'Answers with text, an image and a resource.',
    call: () => [
      ...text('Multiple content types test:'),
      image,
      embedded('test://mixed-content-resource', 'application/json', JSON.stringify({ test: 'data', value: 123 })),
    ],
  },
  {
    name: 'test_error_handling',
    description: 'Fails.',
    call() {
      throw new Error('This tool intentionally returns an error for testing');
    },
  },
  {
    name: 'test_tool_with_logging',
    description: 'Logs while it works.',
    async call({ extra }) {
      for (const data of ['Tool execution started', 'Tool processing data', 'Tool execution completed']) {
        await extra.sendNotification({ method: 'notifications/message', params: { level: 'info', data } });
        await pause(50);
      }
      return text('Logged three times.');
    },
  },
  {
    name: 'test_tool_with_progress',
    description: 'Reports progress while it works.',
    async call({ extra }) {
      const progressToken = extra._meta?.progressToken;
      for (const progress of [0, 50, 100]) {
        if (progressToken !== undefined)
          await extra.sendNotification({
            method: 'notifications/progress',
            params: { progressToken, progress, total: 100 },
          });
        await pause(50);
      }
      return text('Reported three times.');
    },
  },
  {
    name: 'test_reconnection',
    description: 'Lets go of its stream before it answers.',
    async call({ extra }) {
      extra.closeSSEStream?.();
      await pause(100);
      return text('Answered after the stream was closed.');
    },
  },
  {
    name: 'test_sampling',
    description: 'Asks the model of the client.',
    inputSchema: { type: 'object', properties: { prompt: { type: 'string' } }, required: ['prompt'] },
    async call({ input, server, extra }) {
      const question = { role: 'user' as const, content: { type: 'text' as const, text: String(input.prompt) } };
      const { content } = await server.createMessage(
        { messages: [question], maxTokens: 100 },
        { relatedRequestId: extra.requestId },
      );
      return text(`LLM response: ${'text' in content ? content.text : JSON.stringify(content)}`);
    },
  },
  {
    name: 'test_elicitation',
    description: 'Asks the person.',
    inputSchema: { type: 'object', properties: { message: { type: 'string' } }, required: ['message'] },
    call: (call) =>
      ask(call, 'User response', String(call.input.message), {
        type: 'object',
        properties: {
          username: { type: 'string', description: "User's response" },
          email: { type: 'string', description: "User's email address" },
        },
        required: ['username', 'email'],
      }),
  },
  {
    name: 'test_elicitation_sep1034_defaults',
    description: 'Asks the person, with a default for each type.',
    call: (call) =>
      ask(call, 'Elicitation completed', 'Check the defaults.', {
        type: 'object',
        properties: {
          name: { type: 'string', default: 'John Doe' },
          age: { type: 'integer', default: 30 },
          score: { type: 'number', default: 95.5 },
          status: { type: 'string', enum: ['active', 'inactive', 'pending'], default: 'active' },
          verified: { type: 'boolean', default: true },
        },
      }),
  },
  {
    name: 'test_elicitation_sep1330_enums',
    description: 'Asks the person, with every kind of choice.',
    call: (call) =>
      ask(call, 'Elicitation completed', 'Choose.', {
        type: 'object',
        properties: {
          untitledSingle: { type: 'string', enum: numbered('option') },
          titledSingle: { type: 'string', oneOf: titled() },
          legacyEnum: { type: 'string', enum: numbered('opt'), enumNames: numbered('Option ') },
          untitledMulti: { type: 'array', items: { type: 'string', enum: numbered('option') } },
          titledMulti: { type: 'array', items: { anyOf: titled() } },
        },
      }),
  },
  {
    name: 'json_schema_2020_12_tool',
    description: 'Has a schema with references.',
    inputSchema: {
      $schema: 'https://json-schema.org/draft/2020-12/schema',
      type: 'object',
      $defs: {
        address: { type: 'object', properties: { street: { type: 'string' }, city: { type: 'string' } } },
      },
      properties: { name: { type: 'string' }, address: { $ref: '#/$defs/address' } },
      additionalProperties: false,
    },
    call: ({ input }) => text(JSON.stringify(input)),
  },
];

/** As a client of ours would see it: a failure is a result. */
export async function callFixture(tool: FixtureTool, call: Call): Promise<CallToolResult> {
  try {
    return { content: await tool.call(call) };
  } catch (error) {
    return { isError: true, content: text(error instanceof Error ? error.message : String(error)) };
  }
}

async function ask(
  { server, extra }: Call,
  heading: string,
  message: string,
  requestedSchema: ElicitRequestFormParams['requestedSchema'],
): Promise<ContentBlock[]> {
  const { action, content } = await server.elicitInput(
    { mode: 'form', message, requestedSchema },
    { relatedRequestId: extra.requestId },
  );
  return text(`${heading}: action=${action}, content=${JSON.stringify(content ?? {})}`);
}

function text(content: string): ContentBlock[] {
  return [{ type: 'text', text: content }];
}

function embedded(uri: string, mimeType: string, content: string): ContentBlock {
  return { type: 'resource', resource: { uri, mimeType, text: content } };
}

function numbered(prefix: string): string[] {
  return [1, 2, 3].map((number) => `${prefix}${number}`);
}

function titled(): { const: string; title: string }[] {
  return [1, 2, 3].map((number) => ({ const: `value${number}`, title: `Choice ${number}` }));
}
