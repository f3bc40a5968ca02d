import { randomUUID } from 'node:crypto';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { Server } from '@modelcontextprotocol/sdk/server/index.js';
import { StdioServerTransport } from '@modelcontextprotocol/sdk/server/stdio.js';
import type { RequestHandlerExtra } from '@modelcontextprotocol/sdk/shared/protocol.js';
import type { Transport } from '@modelcontextprotocol/sdk/shared/transport.js';
import {
  CallToolRequestSchema,
  type CallToolResult,
  ErrorCode,
  GetPromptRequestSchema,
  ListPromptsRequestSchema,
  ListResourcesRequestSchema,
  ListToolsRequestSchema,
  McpError,
  ReadResourceRequestSchema,
  type RequestId,
  type ServerNotification,
  type ServerRequest,
} from '@modelcontextprotocol/sdk/types.js';
import type { z } from 'zod';
import { AppError } from '../errors.ts';
import type { Log } from '../log.ts';
import type { Scope } from '../principal.ts';
import type { Redactor } from '../redactor.ts';
import { requireScope } from '../scope.ts';
import type { AuditTrail } from '../usage/audit.ts';
import { callAudited } from './audited.ts';
import type { Ask, Confirmations } from './confirmation.ts';
import { CallDeadline } from './deadline.ts';
import { prompts, type ResourceEntry } from './resources.ts';
import { toJsonSchema } from './schema-json.ts';
import type { Tool, ToolContext } from './tool.ts';

/** People need time to read a plan; the SDK's default is 60 s. */
const elicitationTimeoutMs = 10 * 60_000;

/** What a session needs besides the tools. `context` lacks only what belongs to one call. */
export interface McpParts {
  version: string;
  tools: readonly Tool[];
  resources: readonly ResourceEntry[];
  context: Omit<ToolContext, 'signal' | 'confirm'>;
  confirmations: Confirmations;
  audit: AuditTrail;
  redactor: Redactor;
  log: Log;
  /** Said to the model at the start, besides the usual. */
  notice: string | null;
}

type Extra = RequestHandlerExtra<ServerRequest, ServerNotification>;

/** One MCP session. The only place that knows the SDK: tools are plain objects. */
export class McpSession {
  readonly #parts: McpParts;
  readonly #server: Server;
  readonly #running = new Set<Promise<unknown>>();
  readonly #deadlines = new Set<CallDeadline>();

  constructor(parts: McpParts) {
    this.#parts = parts;
    this.#server = new Server(
      { name: 'tandem', title: 'Tandem', version: parts.version },
      { capabilities: { tools: {}, resources: {}, prompts: {} }, instructions: instructions(parts.notice) },
    );
    this.#server.onerror = (error) =>
      parts.log.warn({ error: error.message }, 'the client sent something that is not MCP');
    this.#handleTools();
    this.#handleResources();
    this.#handlePrompts();
  }

  /** Called once when the connection is over, whoever ended it. */
  set onClose(listener: () => void) {
    this.#server.onclose = listener;
  }

  /** Speaks MCP until `close`, on stdin and stdout unless told otherwise. */
  async connect(transport: Transport = stdioTransport()): Promise<void> {
    await this.#server.connect(transport);
  }

  /** Aborts what is running, waits until it has settled its rows, and hangs up. */
  async close(): Promise<void> {
    for (const deadline of this.#deadlines) deadline.cancel(new AppError('cancelled', 'Tandem is closing.'));
    await Promise.allSettled(this.#running);
    // The SDK sends what they answered after this, and drops it when the connection is closed before.
    await nextTurn();
    await this.#server.close();
  }

  #handleTools(): void {
    const { tools } = this.#parts;
    const offered = tools.filter(this.#isInScope);
    const listed = offered.map((tool) => ({
      name: tool.name,
      title: tool.title,
      description: tool.description,
      inputSchema: toJsonSchema(tool.input, 'input') as { type: 'object' },
      outputSchema: toJsonSchema(tool.output, 'output') as { type: 'object' },
      annotations: annotations(tool),
    }));
    this.#server.setRequestHandler(ListToolsRequestSchema, () => ({ tools: listed }));
    this.#server.setRequestHandler(CallToolRequestSchema, async ({ params }, extra) => {
      const tool = tools.find(({ name }) => name === params.name);
      if (!tool) {
        const names = offered.map(({ name }) => name).join(', ');
        throw new McpError(ErrorCode.InvalidParams, `There is no tool "${params.name}" here. Valid: ${names}.`);
      }
      return this.#track(this.#call(tool, params.arguments ?? {}, extra));
    });
  }

  /** What is out of scope is not listed; a call by its name is told which scope is missing. */
  readonly #isInScope = ({ scope }: { scope: Scope }): boolean => this.#parts.context.principal.scopes.has(scope);

  async #call(tool: Tool, given: Record<string, unknown>, extra: Extra): Promise<CallToolResult> {
    try {
      const input = parseInput(tool, given);
      const { structured, text } = await this.#within(extra, (context) => this.#carryOut(tool, input, context));
      return this.#withoutSecrets({ structuredContent: structured, content: [{ type: 'text', text }] });
    } catch (error) {
      return { isError: true, content: [{ type: 'text', text: this.#explain(error, tool.name) }] };
    }
  }

  #carryOut(tool: Tool, input: unknown, context: ToolContext): ReturnType<Tool['call']> {
    const { audit, log } = this.#parts;
    return callAudited(tool, input, context, audit, (error, record) =>
      log.error({ error, ...record }, 'the audit could not be written; this line stands for it'),
    );
  }

  /** Runs the work of one call under its deadline, with a context of its own. */
  async #within<Result>(extra: Extra, work: (context: ToolContext) => Promise<Result>): Promise<Result> {
    const deadline = new CallDeadline(extra.signal);
    this.#deadlines.add(deadline);
    const ask: Ask = (question) => deadline.paused(() => this.#ask(question, extra.requestId, deadline.signal));
    try {
      const confirm = this.#parts.confirmations.confirmWith(ask, this.#parts.context.principal.id);
      return await work({ ...this.#parts.context, confirm, signal: deadline.signal });
    } finally {
      deadline.end();
      this.#deadlines.delete(deadline);
    }
  }

  /** Null when the client cannot ask its person, or fails at it: the token takes its place. */
  async #ask(question: string, relatedRequestId: RequestId, signal: AbortSignal): ReturnType<Ask> {
    const elicitation = this.#server.getClientCapabilities()?.elicitation;
    if (!elicitation || (elicitation.url && !elicitation.form)) return null;
    try {
      const request = {
        mode: 'form' as const,
        message: question,
        requestedSchema: { type: 'object' as const, properties: {} },
      };
      const { action } = await this.#server.elicitInput(request, {
        timeout: elicitationTimeoutMs,
        signal,
        relatedRequestId,
      });
      return action === 'accept' ? 'accept' : 'decline';
    } catch (error) {
      signal.throwIfAborted();
      this.#parts.log.warn({ error }, 'the client could not ask its person; falling back to a confirm token');
      return null;
    }
  }

  #handleResources(): void {
    const { resources, context } = this.#parts;
    const offered = resources.filter(this.#isInScope);
    this.#server.setRequestHandler(ListResourcesRequestSchema, () => ({
      resources: offered.map(({ read: _, scope: __, ...listed }) => listed),
    }));
    this.#server.setRequestHandler(ReadResourceRequestSchema, async ({ params }, extra) => {
      const resource = resources.find(({ uri }) => uri === params.uri);
      if (!resource) {
        const uris = offered.map(({ uri }) => uri).join(', ');
        throw new McpError(ErrorCode.InvalidParams, `There is no resource "${params.uri}". Valid: ${uris}.`);
      }
      try {
        requireScope(context.principal, resource.scope, resource.uri);
        const text = await this.#track(this.#within(extra, (context) => resource.read(context)));
        return { contents: [{ uri: resource.uri, mimeType: resource.mimeType, text }] };
      } catch (error) {
        throw new McpError(ErrorCode.InternalError, this.#explain(error, resource.uri));
      }
    });
  }

  #handlePrompts(): void {
    const names = this.#parts.tools.filter(this.#isInScope).map(({ name }) => name);
    const offered = prompts.filter((prompt) => prompt.uses.every((name) => names.includes(name)));
    this.#server.setRequestHandler(ListPromptsRequestSchema, () => ({
      prompts: offered.map(({ name, title, description, arguments: args }) => ({
        name,
        title,
        description,
        arguments: [...args],
      })),
    }));
    this.#server.setRequestHandler(GetPromptRequestSchema, ({ params }) => {
      const prompt = offered.find(({ name }) => name === params.name);
      if (!prompt) {
        throw new McpError(
          ErrorCode.InvalidParams,
          `There is no prompt "${params.name}". Valid: ${offered.map(({ name }) => name).join(', ')}.`,
        );
      }
      const missing = prompt.arguments.find(({ name, required }) => required && !params.arguments?.[name]);
      if (missing)
        throw new McpError(ErrorCode.InvalidParams, `Argument ${missing.name} is missing: ${missing.description}.`);
      const text = prompt.text(params.arguments ?? {});
      return { description: prompt.description, messages: [{ role: 'user', content: { type: 'text', text } }] };
    });
  }

  /** What the client is told. Ours: what happened and what to do. Anything else is a bug: an id, and the rest in the log. */
  #explain(error: unknown, where: string): string {
    const { log, redactor } = this.#parts;
    if (error instanceof AppError) {
      // Not its message: providers quote prompts in theirs.
      log.debug({ code: error.code, where }, 'a call failed');
      return redactor.scrub(`${error.code}: ${error.text}`);
    }
    const incident = randomUUID().slice(0, 8);
    log.error({ error, where, incident }, 'unexpected failure');
    return `internal_error: Something unexpected went wrong in Tandem (incident ${incident}). Its log on stderr has the details under that id.`;
  }

  /** A provider may have put a key into an error or an answer that is passed on. */
  #withoutSecrets(result: CallToolResult): CallToolResult {
    const json = JSON.stringify(result);
    const clean = this.#parts.redactor.hide(json);
    return clean === json ? result : (JSON.parse(clean) as CallToolResult);
  }

  #track<Result>(work: Promise<Result>): Promise<Result> {
    this.#running.add(work);
    const forget = () => this.#running.delete(work);
    work.then(forget, forget);
    return work;
  }
}

/** Long prompts come in one line; the SDK's limit of 10 MB would hang up on them without a word. */
const longestLineBytes = 64 * 1024 * 1024;

function stdioTransport(): Transport {
  return new StdioServerTransport(process.stdin, process.stdout, { maxBufferSize: longestLineBytes });
}

/** Clients assume the worst of what is not said, so all four hints are always given. */
function annotations({ effect, openWorld }: Tool) {
  return {
    readOnlyHint: effect === 'read',
    destructiveHint: effect === 'destroy',
    idempotentHint: effect !== 'spend',
    openWorldHint: openWorld,
  };
}

/** Every problem of the arguments at once, with the path and what is allowed. */
function parseInput(tool: Tool, given: Record<string, unknown>): unknown {
  const parsed = tool.input.safeParse(given);
  if (parsed.success) return parsed.data;
  const allowed = Object.keys(tool.input.shape).join(', ') || 'none';
  const problems = parsed.error.issues.map((issue) => describeIssue(issue, allowed));
  throw new AppError('invalid_input', `${tool.name} cannot take these arguments: ${problems.join('; ')}.`, {
    next: 'Nothing was done.',
  });
}

function describeIssue(issue: z.core.$ZodIssue, allowed: string): string {
  const path = issue.path.map(String).join('.');
  if (issue.code === 'unrecognized_keys') {
    const keys = issue.keys.map((key) => `"${key}"`).join(', ');
    return path ? `${path}: unknown ${keys}` : `unknown argument ${keys} (allowed: ${allowed})`;
  }
  return `${path || 'arguments'}: ${issue.message}`;
}

function instructions(notice: string | null): string {
  const usual =
    'Tandem runs prompts on the cheapest model backend that is good enough, rents Lambda Cloud GPUs, and accounts for all of it. ' +
    'Use route_explain for estimates, complete to run a prompt, cost_report for spending. Launching, renewing and terminating need a yes from the person: show them the plan first. GPUs are billed until they are terminated, at the latest when their lease ends; fleet_status says what is wanted and what is there.';
  return notice ? `${notice} ${usual}` : usual;
}
