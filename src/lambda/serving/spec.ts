import { AppError } from '../../errors.ts';

export const engines = ['vllm', 'sglang'] as const;
export type Engine = (typeof engines)[number];

/** `tunnel`: the server listens on the machine's loopback and is reached by SSH. `direct`: on every address, with a key. */
export const endpoints = ['tunnel', 'direct'] as const;
export type Endpoint = (typeof endpoints)[number];

/** What is to be served. Kept as JSON in `deployment.spec`, so it names secrets and holds none. */
export interface ServeWish {
  /** A repository on Hugging Face: `openai/gpt-oss-120b`. */
  model: string;
  engine: Engine;
  /** In tokens; null: as much as the model allows and the memory holds. */
  maxContext: number | null;
  /** Name of an environment variable on this computer. */
  hfTokenEnv: string | null;
  /** For the model server, one argument each: `--tool-call-parser`, `hermes`. */
  extraArgs: readonly string[];
  endpoint: Endpoint;
  /** Who may reach a `direct` endpoint: a network such as `203.0.113.7/32`; null behind a tunnel. */
  allowCidr: string | null;
}

/** Where the model server listens on its machine. */
export const modelServerPort = 8000;

/** What Tandem sets, and what would get around it. */
const reservedFlags = [
  '--model',
  '--model-path',
  '--served-model-name',
  '--host',
  '--port',
  '--uds',
  '--root-path',
  '--fastapi-root-path',
  '--ssl-keyfile',
  '--ssl-certfile',
  '--api-key',
  '--config',
  '--tensor-parallel-size',
  '--tp-size',
  '--max-model-len',
  '--context-length',
];
/** vLLM's short forms of them; SGLang has none. */
const reservedShortFlags = ['-tp', '-h'];

const modelName = /^[A-Za-z0-9][\w.-]{0,95}(?:\/[A-Za-z0-9][\w.-]{0,95})?$/;
const longestArgument = 4096;
const mostArguments = 64;

/** Throws `invalid_input` where a machine started with this wish could not do what Tandem thinks it does. */
export function checkWish(wish: ServeWish): void {
  if (!modelName.test(wish.model)) {
    throw new AppError('invalid_input', `"${shorten(wish.model)}" is no name of a model.`, {
      next: 'Give a repository on Hugging Face, such as openai/gpt-oss-120b.',
    });
  }
  if (wish.maxContext !== null && (!Number.isSafeInteger(wish.maxContext) || wish.maxContext < 1)) {
    throw new AppError('invalid_input', `A context of ${wish.maxContext} tokens cannot be served.`, {
      next: 'Give a whole number of tokens, such as 32768.',
    });
  }
  checkArguments(wish.extraArgs);
}

function checkArguments(args: readonly string[]): void {
  if (args.length > mostArguments) {
    throw new AppError('invalid_input', `${args.length} extra arguments are too many.`, {
      next: `Give at most ${mostArguments}.`,
    });
  }
  const [first] = args;
  if (first !== undefined && !first.startsWith('-')) {
    throw new AppError('invalid_input', `The extra argument "${shorten(first)}" belongs to no option.`, {
      next: 'Begin with an option, such as --enable-prefix-caching.',
    });
  }
  for (const argument of args) {
    if (argument.length > longestArgument || /\p{Cc}/u.test(argument)) {
      throw new AppError('invalid_input', `The extra argument "${shorten(argument)}" cannot be passed on.`, {
        next: `Arguments have at most ${longestArgument} characters, and no line breaks or other control characters.`,
      });
    }
    const reserved = reservedBy(argument);
    if (reserved !== undefined) {
      // Without the value: it may be a key.
      const given = shorten(argument.split('=')[0] ?? '');
      throw new AppError('invalid_input', `Tandem sets ${reserved} itself, so "${given}" cannot be given.`, {
        next: 'Leave it out; the model, the longest context and the endpoint have settings of their own.',
      });
    }
  }
}

/** Both servers read `--flag=value`, `--some_flag` and any beginning of a flag that is not ambiguous. */
function reservedBy(argument: string): string | undefined {
  if (!argument.startsWith('-')) return undefined;
  const flag = (argument.split('=')[0] ?? '').replaceAll('_', '-').toLowerCase();
  if (!flag.startsWith('--')) return reservedShortFlags.find((short) => flag.startsWith(short));
  return reservedFlags.find((reserved) => reserved.startsWith(flag));
}

function shorten(text: string): string {
  const line = text.replace(/\p{Cc}+/gu, ' ');
  return line.length > 80 ? `${line.slice(0, 80)}…` : line;
}
