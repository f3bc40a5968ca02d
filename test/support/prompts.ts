/** Twenty prompts of many kinds, as people and programs send them. */
export const variedPrompts: readonly { name: string; prompt: string }[] = [
  { name: 'greeting', prompt: 'Hi there, how are you?' },
  { name: 'fact', prompt: 'What is the capital of Australia?' },
  { name: 'translation', prompt: 'Translate "Where is the next pharmacy?" into Spanish and Italian.' },
  {
    name: 'ticket',
    prompt: 'Summarise this ticket in one sentence: The printer on the second floor does not answer since Monday.',
  },
  { name: 'grammar', prompt: 'Fix the grammar: he go to school every days and dont like it' },
  {
    name: 'extraction',
    prompt: 'Extract name, amount and date as JSON from: "Invoice 4711 of 3 May 2026, ACME Ltd, total 1,250.00 EUR".',
  },
  {
    name: 'classification',
    prompt: 'Is this review positive or negative? Answer with one word. "The battery died after two days."',
  },
  { name: 'haiku', prompt: 'Write a haiku about the first snow in a big city.' },
  { name: 'code, small', prompt: 'Write a Python function that merges two sorted lists into one sorted list.' },
  {
    name: 'code, hard',
    prompt:
      'Find the race condition in this code and explain two designs that avoid it, with their trade-offs:\n```ts\nasync function transfer(from: Account, to: Account, amount: number) {\n  await from.lock();\n  await to.lock();\n  from.balance -= amount;\n  to.balance += amount;\n}\n```\nIt must stay correct under retries and must not deadlock.',
  },
  {
    name: 'word problem, short',
    prompt:
      'A shop sells pens at 3 dollars each. Anna buys 4 pens and pays with a 20 dollar note. How much change does she get?',
  },
  {
    name: 'word problem, long',
    prompt:
      'A farm has 3 fields. The first yields 120 bags of wheat, the second twice as many, and the third 15 % less than the second. Each bag sells for 8 dollars, but a quarter of all bags is kept as seed, and transport costs 0.5 dollars for each bag that is sold. How many dollars does the farm earn after transport?',
  },
  {
    name: 'multiple choice, school',
    prompt: 'Which planet is known as the Red Planet?\nA. Venus\nB. Mars\nC. Jupiter\nD. Saturn\nAnswer:',
  },
  {
    name: 'multiple choice, algebra',
    prompt: 'Find all c in Z_3 such that Z_3[x]/(x^2 + c) is a field.\nA. 0\nB. 1\nC. 2\nD. 3\nAnswer:',
  },
  {
    name: 'multiple choice, law',
    prompt:
      "A landlord leased a building to a tenant for a term of ten years. After two years the tenant assigned the lease to a friend without the landlord's consent, although the lease forbade it. The landlord took rent from the friend for six months and then sued to end the lease. Will the landlord prevail?\nA. Yes, because the assignment was forbidden.\nB. Yes, because the tenant left the building.\nC. No, because the landlord accepted rent from the friend.\nD. No, because leases can always be assigned.\nAnswer:",
  },
  {
    name: 'proof',
    prompt:
      'Prove that there are infinitely many primes of the form 4k + 3, step by step, and say where the argument fails for 4k + 1.',
  },
  { name: 'formula', prompt: 'Compute $\\int_0^1 x^2 e^{-x} \\, dx$ and simplify the result as far as possible.' },
  {
    name: 'design',
    prompt:
      'Design a distributed rate limiter for an API with 50 regions. Requirements:\n1. at most 5 ms are added\n2. no single point of failure\n3. limits must never be exceeded by more than 1 %\nEvaluate the trade-offs of three designs and justify your choice.',
  },
  {
    name: 'analysis',
    prompt:
      'Analyze our quarterly revenue by region, find the root cause of the decline in the north, compare two forecasts for the next quarter and explain which assumptions drive the difference.',
  },
  { name: 'German', prompt: 'Erkläre einem Kind in drei Sätzen, warum der Himmel blau ist.' },
];
