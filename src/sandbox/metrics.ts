import type { ModelServerOrder } from './cloud-config.ts';
import type { Load } from './provider.ts';

/** How many prompts of full length the cache of a sandbox engine holds. */
const fullPromptsInCache = 8;

/** What `/metrics` of the engine says, under its own names, in the text format of Prometheus. */
export function renderMetrics(order: ModelServerOrder, load: Load): string {
  const running = Math.min(load.openCalls, order.maxRunning);
  const waiting = load.openCalls - running;
  const cacheShare = Math.min(1, load.openPromptTokens / (order.contextWindowTokens * fullPromptsInCache));
  const isVllm = order.engine === 'vllm';
  const label = `model_name="${order.servedName}"`;
  const labels = isVllm ? `engine="0",${label}` : `engine_type="unified",${label},pp_rank="0",tp_rank="0"`;
  const metric = (type: 'gauge' | 'counter', name: string, help: string, value: number) =>
    [
      `# HELP ${order.engine}:${name} ${help} (sandbox)`,
      `# TYPE ${order.engine}:${name} ${type}`,
      `${order.engine}:${name}{${labels}} ${asFloat(value)}`,
    ].join('\n');
  const lines = [
    metric('gauge', isVllm ? 'num_requests_running' : 'num_running_reqs', 'Requests that run.', running),
    metric('gauge', isVllm ? 'num_requests_waiting' : 'num_queue_reqs', 'Requests that wait.', waiting),
    metric('gauge', isVllm ? 'kv_cache_usage_perc' : 'token_usage', 'Share of the cache in use, 0 to 1.', cacheShare),
    metric('counter', 'prompt_tokens_total', 'Number of prefill tokens processed.', load.promptTokens),
    metric('counter', 'generation_tokens_total', 'Number of generation tokens processed.', load.generationTokens),
  ];
  return `${lines.join('\n')}\n`;
}

/** As Python prints a float: `3.0`, and `1e-05` or `8.128902e+06` at the ends, where real engines do the same. */
function asFloat(value: number): string {
  if (value >= 1_000_000) return value.toExponential().replace(/e\+(\d)$/, 'e+0$1');
  return Number.isInteger(value) ? value.toFixed(1) : String(value);
}
