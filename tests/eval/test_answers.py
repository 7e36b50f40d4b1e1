"""Answers, programs, thinking and refusals in the forms in which models write them: each kind by several of its
members.
"""

import json
import re
import subprocess
import sys
import time

import pytest
from conftest import ROOT, rows

from eval.checking.numbers import read
from eval.checking.programs import program
from eval.checking.thinking import visible
from eval.tools.sandbox import BACKENDS, why_not
from eval.verifiers import final_answer, final_number, get_verifier

REPLIES = [json.loads(line) for line in (ROOT / "tests/data/replies.jsonl").read_text(encoding="utf-8").splitlines()]


def runs(code: str, tests: str) -> float:
    """In a plain process, in place of the sandbox: for the harmless programs that stand in this file and its data
    alone.
    """
    done = subprocess.run([sys.executable, "-c", f"{code}\n{tests}"], capture_output=True, stdin=subprocess.DEVNULL)
    return float(bool(code.strip()) and done.returncode == 0)


def wrong(verifier: str, said: list[str], score: float, **columns) -> list[str]:
    return [text for text in said if get_verifier(verifier)(text, **columns) != score]


EIGHTEEN = [
    "So the answer is: 18",
    "The answer is 18 .",
    "Answer : 18",
    "ANSWER: 18",
    "*Answer*: 18",
    "**Final Answer: 18**",
    "**The answer is 18.**",
    "The answer is **\\$18**.",
    "Final answer: $18$",
    "Final Answer:\n\n$$\n\\boxed{18}\n$$",
    "\\boxed{\\mathbf{18}}",
    "$\\boxed{\\textbf{18}}$",
    "$\\boxed{ \\; 18 \\; }$",
    "\\[\\boxed{18\\ \\text{dollars}}\\]",
    "\\boxed{18 \\, \\text{eggs}}",
    "\\boxed{\\text{\\$}18}",
    "\\boxed{\\text{18 dollars}}",
    "Answer: \\(18\\)",
    "The answer is $$18$$.",
    "The answer is `18`.",
    "```\nThe answer is 18.\n```",
    "#### 18.",
    "#### $18",
    "####18",
    "#### **18**",
    "#### 18 dollars",
    "#### The answer is 18",
    "Therefore, the total is $\\boxed{18}$ dollars per day.",
    "Thus, she makes $\\boxed{18}$ every day at the farmers' market.",
    "The final answer is $18.00.",
    "\\fbox{18}",
    "The answer is \u200b18\u200b.",
    "The answer is １８.",
    "The answer is ١٨.",
    "The answer is eighteen.",
    "The answer is Eighteen dollars.",
    "The answer is (18).",
    'The answer is "18".',
    "The answer is 18!",
    "The answer is 18, as required.",
    "So, the answer is\n18",
    "Answer\n------\n18",
    "| Step | Value |\n|---|---|\n| Answer | 18 |",
    "- **Answer:** 18",
    "Q: x\nA: y\nThe answer is 18.",
    "\\boxed{18}\n\nLet me know if you have questions!",
    "The answer is 18 (eighteen).",
    "The answer is 18 because 9*2 = 18.",
    "She makes $\\boxed{9 \\times 2 = 18}$.",
    "The answer is \\boxed{18}\\)",
    "\\( \\boxed{18} \\) dollars",
    "$18$ is wrong? No. The answer is $18$.",
    "Answer: 18 ✅",
    "<answer>18</answer>",
    "<answer>\\boxed{18}</answer>",
    "<answer>$18</answer>\n",
    "<think>x</think><answer>\n18\n</answer>",
    '{"answer": 18}',
    "The answer is: **18**.",
    "The correct answer is 18.",
    "Hence the required answer is 18.",
    "In conclusion, the answer is 18.",
    "The answer would be 18.",
    "We get 18. Thus the answer must be 18.",
    "My final answer is 18.",
    "The answer comes out to 18.",
    "The answer is equal to 18.",
    "The answer = 18",
    "Ans: 18",
    "Ans. 18",
    "Result: 18",
    "**Result:** 18",
    "Final result: 18",
    "The total is 18. So our final answer is 18.",
    "The answer is $\\frac{36}{2} = 18$.",
    "Answer: x = 18",
    "答案：18",
    "Die Antwort lautet 18.",
    "The answer to this problem is 18.",
    "The answer is 18\\.",
    "The answer is 18 $.",
    "\\boxed{18}.\n$$",
    "\\boxed{18}$$\n\\end{align*}",
    "\\begin{align*}x&=9\\cdot 2\\\\&=\\boxed{18}\\end{align*}",
    "The answer is R$ 18",
    "\\boxed{18}\n\nNote: 18 = 9 + 9.",
    "So it is \\boxed{18}.\n\nThis is because each of the 9 eggs costs \\$2.",
    "The answer is 2^3 + 10 = 18.",
    "<b>Answer:</b> 18",
    "The answer is <strong>18</strong>.",
    "**18** is the answer.",
    "So, 18 is the final answer.",
    "The answer is eighteen (18).",
    "الإجابة: ١٨",
    "Jawaban: 18",
    "Odpowiedź: 18",
    "<final_answer>18</final_answer>",
    "The answer is S/ 18",
    '{"reasoning": "9 * 2", "answer": "18"}',
    "\\boxed{\\mathrm{Answer: } 18}",
    "The answer is: $18$ (rounded to the nearest whole number).",
    "The answer is **18 clips** in total for April and May.",
    "\\boxed{ \\begin{array}{c} 18 \\end{array} }",
    "Answer: 18 m s^{-1}",
    "Answer: $18\\ \\mathrm{m\\,s^{-1}}$",
]
NOT_EIGHTEEN = [
    "The answer is 180.",
    "The answer is 1.8.",
    "The answer is 18.5",
    "The answer is 18 or 19.",
    "The answer is 18/19",
    "Answer: 17 or 18",
    "\\boxed{18, 19}",
    "\\boxed{81}",
    "The answer is not 18",
    "Is the answer 18?",
    "The answer is 18?",
    "The answer is 18 million.",
    "The answer is -18.",
    "The answer is 18x.",
    "#### 18\n#### 19",
    "<think>The answer is 18.</think>",
    "The answer is 0.18",
    "The answer is 118",
    "18",
    "The answer is 18.18.18",
    "The answer is 18:00",
    "The answer is 18^2",
    "The answer is 18².",
    "\\boxed{18}\n\nWait, it should be 19.",
    "\\boxed{18}\n\nNote: actually it is 19.",
    "\\boxed{18}\n\nThe total is 19.",
    "18 is not the answer.",
    "The answer is eighteen (19).",
    "The answer is 10¹⁸.",
    "The answer is 18 and 19 clips",
    'He wrote {"question": 1, "answers": 18}',
    "The answer is 18 + 0",
    "The answer is 18 - 18",
]
MATH = [
    ("\\frac{1}{2}", "\\boxed{0.5}", 1),
    ("\\frac{1}{2}", "\\boxed{\\tfrac12}", 1),
    ("\\frac{1}{2}", "\\boxed{50\\%}", 1),
    ("12", "\\boxed{12\\text{ cm}}", 1),
    ("12 \\text{ cm}", "\\boxed{12}", 1),
    ("12\\,\\mathrm{cm}", "The answer is $12$ cm.", 1),
    ("\\$32,348", "\\boxed{32348}", 1),
    ("5.5", "\\boxed{5\\frac{1}{2}}", 1),
    ("2\\sqrt{3}", "\\boxed{\\sqrt{12}}", 1),
    ("(3,\\frac{\\pi}{2})", "\\left( 3, \\frac{\\pi}{2} \\right) = \\boxed{\\left( 3, \\frac{\\pi}{2} \\right)}", 1),
    ("x^2+2x+1", "\\boxed{(x+1)^2}", 1),
    ("(-1,2]", "$x \\in (-1,2]$. Answer: $(-1,2]$", 1),
    ("[0,1]", "\\boxed{x \\in [0,1]}", 1),
    ("\\{1,2,3\\}", "\\boxed{\\{3,2,1\\}}", 1),
    ("1,2,3", "The answer is 1, 2, and 3.", 1),
    ("-2,4", "\\boxed{4} and \\boxed{-2}", 1),
    ("C", "\\boxed{\\text{C}}", 1),
    ("\\text{(C)}", "\\boxed{C}", 1),
    ("\\text{(C)}", "\\boxed{\\textbf{(C)}}", 1),
    ("\\text{No solution}", "\\boxed{\\text{no solution}}", 1),
    ("east", "\\boxed{\\text{east}}", 1),
    ("Evelyn", "\\boxed{\\text{Evelyn}}", 1),
    ("Evelyn", "\\boxed{\\text{Carla}}", 0),
    ("90", "\\boxed{90^{\\circ}}", 1),
    ("y=2x+3", "\\boxed{y = 2x + 3}", 1),
    ("2x+3", "\\boxed{f(x)=2x+3}", 1),
    ("10000", "\\boxed{10{,}000}", 1),
    ("10000", "\\boxed{10,\\!000}", 1),
    ("10000", "\\boxed{10^4}", 0),
    ("1+2i", "\\boxed{2i+1}", 1),
    ("\\frac{-3}{4}", "\\boxed{-\\frac{3}{4}}", 1),
    ("\\pi", "\\boxed{π}", 1),
    ("x^2", "\\boxed{x²}", 1),
    ("\\sqrt{2}", "\\boxed{√2}", 1),
    ("\\frac{3}{4}", "The answer is ¾.", 1),
    ("7", "\\[ x = \\boxed{7} \\]", 1),
    ("7", "\\[ \\boxed{x = 7} \\]", 1),
    ("7", "**Final Answer**: $\\boxed{7}$ **(7 units)**", 1),
    ("6", "\\boxed{6} ways", 1),
    ("\\begin{pmatrix} 1 & 2 \\\\ 3 & 4 \\end{pmatrix}", "\\[\\boxed{\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}}\\]", 1),
    ("\\begin{pmatrix} 1 & 2 \\\\ 3 & 4 \\end{pmatrix}", "\\[\\boxed{\\begin{bmatrix}1&2\\\\3&4\\end{bmatrix}}\\]", 1),
    ("\\begin{pmatrix} 1 & 2 \\\\ 3 & 4 \\end{pmatrix}", "\\[\\boxed{\\begin{bmatrix}1&3\\\\2&4\\end{bmatrix}}\\]", 0),
    ("\\left(\\frac{3}{5},\\frac{8}{3}\\right]", "\\boxed{\\left(\\frac{3}{5},\\frac{8}{3}\\right]}", 1),
    ("ABC", "\\boxed{ABC}", 1),
    ("3R^2", "\\boxed{3R^2}", 1),
    ("\\frac{243}{625}", "\\boxed{\\frac{243}{625}}", 1),
    ("p - q", "\\boxed{p-q}", 1),
    ("11:30", "\\boxed{11:30}", 1),
    ("11:30", "\\boxed{12:30}", 0),
    ("3:2", "\\boxed{3:2}", 1),
    ("10\\%", "\\boxed{10\\%}", 1),
    ("52_8", "\\boxed{52_8}", 1),
    ("4210_{5}", "\\boxed{4210_5}", 1),
    ("x \\le 5", "\\boxed{x \\leq 5}", 1),
    ("(5,\\infty)", "\\boxed{x>5}", 1),
    ("\\emptyset", "\\boxed{\\varnothing}", 1),
    ("-\\frac{1}{3}", "\\boxed{-1/3}", 1),
    ("5", "\\boxed{5\\text{ or }6}", 0),
    ("5", "5", 0),
    ("5", "\\boxed{\\boxed{5}}", 1),
    ("1 \\pm \\sqrt{19}", "\\boxed{1 \\pm \\sqrt{19}}", 1),
    ("1 \\pm \\sqrt{19}", "\\boxed{1+\\sqrt{19}, 1-\\sqrt{19}}", 1),
    ("864 \\mbox{ inches}^2", "\\boxed{864}", 1),
    ("864 \\mbox{ inches}^2", "\\boxed{864 \\text{ in}^2}", 1),
    ("6 - 5i", "\\boxed{6-5i}", 1),
    ("\\$18.90", "\\boxed{\\$18.90}", 1),
    ("\\$18.90", "\\boxed{18.9}", 1),
    ("2k", "\\boxed{2k}", 1),
    ("2k", "\\boxed{2}", 0),
    ("7", "\\boxed{7k}", 0),
    ("e", "\\boxed{e}", 1),
    ("\\frac{\\sqrt{3}}{3}", "\\boxed{\\frac{1}{\\sqrt{3}}}", 1),
    ("y^4-2y^3+7y^2+y-5", "\\boxed{y^4 - 2y^3 + 7y^2 + y - 5}", 1),
    ("9", "\\boxed{9}\\] and so the answer is $9$.", 1),
    ("\\frac{2}{21}", "The answer is \\(\\dfrac{2}{21}\\).", 1),
    ("(6,31,-1)", "\\boxed{(6, 31, -1)}", 1),
    ("\\text{Navin}", "The answer is **Navin**.", 1),
    ("15\\text{ mph}", "\\boxed{15 \\text{ miles per hour}}", 1),
    ("-50", "\\boxed{−50}", 1),
    ("1.25", "\\boxed{\\frac{5}{4}}", 1),
    ("0", "\\boxed{0}", 1),
    ("12,\\!500", "\\boxed{12500}", 1),
    ("3, 5, 7", "\\boxed{3,5,7}", 1),
    ("3, 5, 7", "\\boxed{3,5}", 0),
    ("x=5", "\\boxed{5}", 1),
    ("(2,3)", "\\boxed{(3,2)}", 0),
    ("(2,3)", "\\boxed{x=2,y=3}", 1),
    ("(-\\infty,2)\\cup(3,\\infty)", "\\boxed{x \\in (-\\infty, 2) \\cup (3, +\\infty)}", 1),
    ("(-\\infty,-1)\\cup(2,\\infty)", "\\boxed{x > 2 \\text{ or } x < -1}", 1),
    ("(-\\infty,-1)\\cup(2,\\infty)", "\\boxed{x > 2 \\text{ or } x \\le -1}", 0),
    ("(-\\infty,-1]\\cup(1,2]", "$x \\leq -1$ or $1 < x \\le 2$: \\boxed{x \\leq -1 \\text{ or } 1 < x \\le 2}", 1),
    ("3\\pi", "\\boxed{3\\pi \\text{ cm}^2}", 1),
    ("3\\pi", "\\boxed{3\\pi}\n\nThis is because the radius is 1.", 1),
    ("3\\pi", "\\boxed{3\\pi}\n\nThe area is $4\\pi$.", 0),
    ("x=1,y=2", "\\boxed{\\begin{cases} x=1 \\\\ y=2 \\end{cases}}", 1),
    ("3\\pi", "\\boxed{4\\pi \\text{ cm}^2}", 0),
    ("\\sqrt[3]{2}", "\\boxed{2^{1/3}}", 1),
    ("\\text{(B)}", "\\boxed{\\text{(B) } 5}", 1),
    ("\\text{(B)}", "\\boxed{\\text{(C) } 5}", 0),
    ("101_2", "\\boxed{101_{\\text{two}}}", 1),
    ("101_2", "\\boxed{101_{\\text{three}}}", 0),
    ("\\frac{1}{3}", "\\boxed{0.\\overline{3}}", 1),
    ("\\frac{1}{6}", "\\boxed{0.1\\overline{6}}", 1),
    ("\\frac{1}{3}", "\\boxed{0.3}", 0),
    ("\\langle 3,-4\\rangle", "\\boxed{\\langle 3, -4 \\rangle}", 1),
    ("\\langle 3,-4\\rangle", "\\boxed{\\langle 3, 4 \\rangle}", 0),
    ("25\\%", "\\boxed{\\frac{1}{4}}", 1),
    ("25\\%", "\\boxed{\\frac{1}{5}}", 0),
    ("\\arctan 2", "\\boxed{\\tan^{-1}(2)}", 1),
]
WORDS = [
    "The answer is Müller.",
    "The answer is Müller.",
    "The answer is **Müller**.",
    "**Müller**",
    "Answer: 'Müller'",
    "The answer is « Müller ».",
    "\\boxed{\\text{Müller}}",
    "The answer is MÜLLER!",
    "The answer is Ｍüller.",
    "<answer>Müller</answer>",
    "#### Müller",
    "The answer is _Müller_.",
    "The answer is Mül\xadler.",
    "Answer: Müller.",
]
OTHER_WORDS = [
    "The answer is Miller.",
    "The answer is Müller or Maier.",
    "The answer is not Müller.",
]
OPTION_B = [
    "The answer is B",
    "**B**",
    "Answer: B",
    "answer: b",
    "The correct answer is (B).",
    "The best answer is B.",
    "B is correct. The answer is B.",
    "The answer is **(B) Paris**",
    "The answer is $\\boxed{B}$",
    "\\boxed{\\text{B}}",
    "\\boxed{\\textbf{(B)}}",
    "The answer is option B.",
    "The correct choice is B: Paris",
    "<answer>B</answer>",
    "<answer>(B) Paris</answer>",
    "Answer: B. Paris",
    "The answer is [B].",
    "The answer is B) Paris.",
    "So the answer is B: 12 km.",
    'The answer is "B".',
    "The correct answer is (B), since (C) is false.",
    "Therefore, option B is correct.",
    "So (B) is the correct answer.",
    "The best answer is:\n\n**B. It increases**",
]
NOT_OPTION_B = [
    "The answer is C.",
    "The answer is both B and C.",
    "Answer: B, C",
    "The answer is B/C",
    "The answer is Be.",
    "Option C is correct.",
    "Option B is not correct.",
    "Option B is correct. Therefore, option C is correct.",
    "The answer is (C), since (B) is false.",
]
REFUSALS = [
    "I don't have enough information to answer that.",
    "I'm sorry, I can't find that in the text.",
    "The document doesn't provide this information.",
    "I cannot determine the answer from the given context.",
    "There's no information about this in the passage.",
    "This question cannot be answered based on the passage.",
    "The text makes no mention of a wedding.",
    "The passage is silent on that point.",
    "I am not certain who that is.",
    "I don't have access to that information.",
    "I have no way of knowing that.",
    "I'm unable to answer this question.",
    "It isn't clear from the article.",
    "It's impossible to say.",
    "Sorry, that's beyond my knowledge.",
    "I do not have any data on him.",
    "Nobody knows.",
    "I could not find a reliable source for that.",
    "The answer is not given in the passage.",
    "The answer is unknown.",
    "N/A",
    "unanswerable",
    "Not enough information.",
    "I'm not sure.",
    "I'm not aware of any person by that name.",
    "As of my last update, I have no information on that event.",
    "I don't recall.",
    "I must admit that I don't know.",
    "I can't provide a definitive answer.",
    "My knowledge does not extend to 2031.",
    "I haven't heard of that band.",
    "The provided context does not contain the answer.",
    "The context doesn't say anything about his parents.",
    "No information about her age is given in the passage.",
    "None of the sources mention it.",
    "Neither the passage nor the table says so.",
    "We are not told how old she is.",
    "I'd rather not guess.",
    "That's not something I know.",
    "That information is not available to me.",
    "It is not known for certain.",
    "I honestly have no idea.",
    "I wasn't able to find an answer.",
    "The passage doesn't tell us.",
    " I can't confirm that. You may want to check an official source.",
    "I cannot verify this claim with the information I have.",
    "Details on this are not publicly available.",
    "I lack the information needed to answer.",
    "I don't believe I have any information about this.",
    "I haven't come across that name before.",
    "That information isn't in the document you provided.",
    "I don't think I know that one.",
    "This isn't something I have information about.",
    "Hmm, I'm drawing a blank on that one.",
    "That name doesn't ring a bell.",
    "It's unclear who wrote it.",
    "I wasn't trained on information about this person.",
    "Ich weiß es nicht.",
    "Désolé, je ne sais pas.",
    "我不知道。",
    "Lo siento, pero no lo sé.",
    "I do not know the name of the ship, but I can tell you about the voyage if you like.",
]
NO_REFUSALS = [
    "Paris.",
    "He lives in Millbrook.",
    "I know that it is Paris.",
    "There is no river in the town.",
    "No one lives there.",
    "It's not far.",
    "The king could not read.",
    "I don't know why, but it is called Bath.",
    "I'm not sure this helps, but it was 1912.",
    "The book says nothing was lost.",
    "He was unable to attend.",
    "You cannot enter without a ticket.",
    "It was not until 1901 that it opened.",
    "There is no bridge; one takes the ferry.",
    "I can't wait to tell you: it's Oslo!",
    "The passage says that she did not know him.",
    "I cannot stress enough that it is Oslo.",
    "Not in 1901 but in 1902.",
    "It is not clear water but milk.",
    "Although I can't verify it, the usual figure is 300.",
    "As far as I know, it's Lima.",
    "I believe it was Newton, but don't quote me.",
    "I do not doubt that it is Rome.",
    "I have no doubt it's Rome.",
    "The unknown soldier lies in Paris.",
    "She couldn't find her keys.",
    "The data does not lie: it grew by 5 percent.",
    "I'm sure it's Rome.",
    "The text does say: in 1850.",
    "You don't know him, but he is Tom.",
    "There is no information desk; ask at the door.",
    "Ich weiß nicht warum, aber es ist Bern.",
    "I don't think so; it is Bern.",
    "Nobody knows Bern better than Ada.",
    "The bells do not ring on Sundays.",
]


def test_final_numbers():
    assert wrong("final_number", EIGHTEEN, 1.0, answer="18") == []
    assert wrong("final_number", EIGHTEEN, 0.0, answer="19") == []
    assert wrong("final_number", NOT_EIGHTEEN, 0.0, answer="18") == []


@pytest.mark.parametrize(
    "said, answer, score",
    [
        ("The answer is 1.234.567.", "1234567", 1),
        ("The answer is 1.234,50 €.", "1234.5", 1),
        ("The answer is 12,34,567.", "1234567", 1),
        ("The answer is $1.5 million.", "1500000", 1),
        ("The answer is 1/3.", "1/3", 1),
        (r"\boxed{\frac{1}{3}}", r"\frac{1}{3}", 1),
        ("The answer is 2/3.", "1/3", 0),
        ("The answer is 50%.", "0.5", 1),
        ("The answer is 0.5.", "50%", 1),
        ("The answer is 5%.", "0.5", 0),
        ("The answer is $5.", "$5", 1),
        ("The answer is −3.", "−3", 1),
        ("The answer is 5 feet 6 inches.", "5", 0),
        ("The answer is -५.", "-5", 1),
        ("The answer is 5 x 10^3.", "5000", 1),
        ("The answer is 5×10³.", "5000", 1),
        ("The answer is 5 · 10^-3 m/s.", "0.005", 1),
        ("The answer is 3,50 €.", "3.5", 1),
        ("Answer: $\\dfrac{7}{3} \\approx 2.33$", "7/3", 1),
        ("Answer: $\\dfrac{7}{3} \\approx 2.33$", "2.33", 1),
        ("Answer: $\\dfrac{7}{3} \\approx 9$", "7/3", 0),
        ("The answer is 3,50.", "3.5", 0),
        ("So it is $\\boxed{\\dfrac{3}{8}}$ or 37.5%.", "0.375", 1),
        ("So it is $\\boxed{\\dfrac{3}{8}}$, or $0.375$.", "3/8", 1),
        ("So it is $\\boxed{\\dfrac{3}{8}}$ or 38%.", "0.375", 0),
        ("The answer is three hundred and five.", "305", 1),
        ("The answer is five or six.", "5", 0),
        ("The answer is 3:30.", "3:30", None),
        ("The answer is 7 apples.", "7 apples", None),
    ],
)
def test_final_numbers_of_other_kinds(said, answer, score):
    assert final_number(said, answer=answer) == score


def test_final_answers_have_one_form():
    said = [
        "The answer is 9.90.",
        "**Answer:** $9.9",
        "\\boxed{\\frac{99}{10}}",
        "The answer is 1/3.",
        "The answer is -0.",
        "The answer is 1,000.",
        "The answer is 3 or 4.",
    ]
    assert [final_answer(text) for text in said] == ["9.9", "9.9", "9.9", "1/3", "0", "1000", None]


@pytest.mark.parametrize("answer, said, score", MATH)
def test_mathematics(answer, said, score):
    assert get_verifier("math")(said, answer=answer) == score


def test_final_words_and_options():
    assert (
        wrong("final_text", WORDS, 1.0, answer="Müller")
        == []
        == wrong("final_text", OTHER_WORDS, 0.0, answer="Müller")
    )
    assert (
        wrong("multiple_choice", OPTION_B, 1.0, answer="B")
        == []
        == wrong("multiple_choice", NOT_OPTION_B, 0.0, answer="B")
    )
    assert wrong("final_text", OTHER_WORDS, 1.0, answer="Mu\u0308ller") == OTHER_WORDS


def test_countdown_in_other_signs():
    said = [
        "The answer is (7 - 3) * 8 = 32.",
        r"\boxed{(7-3) \times 8}",
        "<answer>(7 - 3) * 8</answer>",
        "Answer: 8 × (7 − 3)",
        r"The answer is $8 \cdot (7-3)$.",
    ]
    assert wrong("countdown", said, 1.0, answer="32", numbers=[7, 3, 8]) == []
    assert wrong("countdown", [*said, "The answer is 32."], 0.0, answer="33", numbers=[7, 3, 8]) == []


def test_refusals():
    assert wrong("refusal", REFUSALS, 1.0) == []
    assert wrong("refusal", NO_REFUSALS, 0.0) == []


def test_names_in_every_form():
    for said in ("Malmö", "Malmo\u0308", "It is Ｍalmö.", "In Mal\u00admö\u200b, no doubt.", "Not only Malmö."):
        assert (
            get_verifier("mentions")(said, answer="Malmö")
            == 1.0
            == get_verifier("names_choice")(said, answer="Malmo\u0308", choices=["Lund"])
        ), said
    assert wrong("mentions", ["他住在北京。", "北京"], 1.0, answer="北京") == []
    assert wrong("token_f1", ["Malmo\u0308", "ＭＡＬＭÖ"], 1.0, answer="Malmö") == []


# ---- Thinking ----

THOUGHT = [
    "<think>{0}</think>{1}",
    "{0}</think>{1}",
    "<think></think>{1}",
    "<think>{0}<think>{0}</think>{0}</think>{1}",
    "<THINK>{0}</Think>\n{1}",
    "<thinking>{0}</thinking>{1}",
    "<reasoning>{0}</reasoning><answer>{1}</answer>",
    "<thought>{0}</thought>{1}",
    "[THINK]{0}[/THINK]{1}",
    "◁think▷{0}◁/think▷{1}",
    "<seed:think>{0}</seed:think>{1}",
    "<|begin_of_thought|>{0}<|end_of_thought|><|begin_of_solution|>{1}<|end_of_solution|>",
    "<|START_THINKING|>{0}<|END_THINKING|><|START_RESPONSE|>{1}<|END_RESPONSE|>",
    "<|channel|>analysis<|message|>{0}<|end|><|start|>assistant<|channel|>final<|message|>{1}<|return|>",
    "{0}<|end|><|start|>assistant<|channel|>final<|message|>{1}",
    "analysis{0}assistantfinal{1}",
    "<|channel>thought\n{0}<channel|>{1}",
    "<unused94>thought\n{0}<unused95>{1}",
    "Here is my thought process: {0}\nHere is my response: {1}",
    "Thinking...\n{0}\n...done thinking.\n{1}",
    "<think>{0}</think>{1}<|im_end|>",
    "<think>{0}<reasoning>{0}</think>{1}",
    "<|think_start|>{0}<|think_end|>{1}",
    "<|thinking|>{0}<|/thinking|>{1}",
    "<|reasoning_start|>{0}<|reasoning_end|>{1}",
    "<internal_monologue>{0}</internal_monologue>{1}",
    "<reasoning_content>{0}</reasoning_content>{1}",
    "<chain_of_thought>{0}</chain_of_thought>{1}",
    '<details type="reasoning" done="true">\n<summary>Thought for 3 seconds</summary>\n> {0}\n</details>\n{1}',
]
HIDDEN = [
    "<think>{0}",
    "<thinking>{0}",
    "[THINK]{0}",
    "<think>{0}<think></think>{0}",
    "<|channel|>analysis<|message|>{0}<|end|>",
    "<|channel|>commentary<|message|>{0}",
    "analysis{0}",
    "{0}</think>",
    "<reasoning>{0}</reasoning>",
    "<|begin_of_thought|>{0}",
    "◁think▷{0}",
    "<unused94>thought {0}",
    "Here is my thought process: {0}",
    "<|START_THINKING|>{0}",
    "<think>{0}</think><think>{0}",
    "<|think_start|>{0}",
    '<details type="reasoning" done="false">\n> {0}',
]


def test_only_what_stands_behind_the_thinking_counts():
    for form in THOUGHT:
        assert final_number(form.format("The answer is 6.", "The answer is 7."), answer="7") == 1.0, form
        assert final_number(form.format("The answer is 7.", "The answer is 6."), answer="7") == 0.0, form
    for form in HIDDEN:
        assert (
            final_number(form.format("The answer is 7."), answer="7") == 0.0
            and not visible(form.format("It is 7.")).strip()
        ), form


def test_what_is_no_thinking():
    for said in (
        'Split at "</think>" first.',
        "Models write `<think>` before they reply.",
        "Analysis: it is 7.",
        "analysis of the poem",
        "<details><summary>More</summary>It is 7.</details>",
    ):
        assert visible(said) == said


def test_thinking_takes_no_time():
    start = time.process_time()
    for hostile in (
        "<think>" * 50_000,
        "</think>" * 50_000,
        "<|channel|>" * 20_000,
        "<|im_end|> " * 20_000 + "x",
        " " * 200_000,
        "analysis" + "a assistant" * 20_000,
    ):
        visible(hostile)
    assert time.process_time() - start < 5


# ---- Programs ----

FENCE, DOUBLE, CHECK = "```", "def double(x):\n    return 2 * x\n", "assert double(2) == 4"
BLOCK = f"{FENCE}python\n{DOUBLE}{FENCE}"
PROGRAMS = {
    "alone": BLOCK,
    "python3": BLOCK.replace("python", "python3"),
    "py": BLOCK.replace("python", "py"),
    "Python": BLOCK.replace("python", "Python"),
    "space before the label": BLOCK.replace("python", " python"),
    "attributes": BLOCK.replace("python", 'python title="a.py"'),
    "braces": BLOCK.replace("python", "{.python}"),
    "no label": BLOCK.replace("python", ""),
    "another label": BLOCK.replace("python", "code"),
    "tildes": BLOCK.replace(FENCE, "~~~"),
    "four backticks": BLOCK.replace(FENCE, "````"),
    "CRLF": BLOCK.replace("\n", "\r\n"),
    "in a list": "1. So:\n" + "\n".join("   " + line for line in BLOCK.split("\n")),
    "list mark before it": "- " + BLOCK.replace("\n", "\n  "),
    "deeply indented": "\n".join("        " + line for line in BLOCK.split("\n")),
    "only the fences are indented": f"  {FENCE}python\n{DOUBLE}  {FENCE}",
    "quoted": "\n".join("> " + line for line in BLOCK.split("\n")),
    "on a sentence's line": "Here it is: " + BLOCK,
    "words behind the closing fence": f"{BLOCK} That is it.",
    "within a Markdown block": f"````markdown\n# Doubling\n{BLOCK}\n````",
    "shell before": f"{FENCE}bash\npip list\n{FENCE}\nThen:\n{BLOCK}",
    "shell before, not closed": f"{FENCE}bash\npip list\n{BLOCK}",
    "JSON before": f'{FENCE}json\n{{"x": 2}}\n{FENCE}\n{BLOCK}',
    "JavaScript behind": f"{BLOCK}\n{FENCE}javascript\nfunction double(x) {{ return 3 * x }}\n{FENCE}",
    "output behind": f"{BLOCK}\nIt prints\n{FENCE}\n4\n{FENCE}",
    "example behind": f"{BLOCK}\n{FENCE}python\nprint(double(2))\n{FENCE}",
    "tests behind": f"{BLOCK}\n{FENCE}python\nassert double(1) == 2\n{FENCE}",
    "first try before": f"{FENCE}python\ndef double(x): return x\n{FENCE}\nBetter:\n{BLOCK}",
    "helper in a block of its own": (
        f"{FENCE}python\ndef twice(x): return 2 * x\n{FENCE}\nand\n{FENCE}python\n"
        f"def double(x): return twice(x)\n{FENCE}"
    ),
    "not closed": BLOCK.removesuffix(FENCE),
    "opened by the prompt": DOUBLE + FENCE,
    "opened by the prompt, a constant first": f"TWO = 2\n{DOUBLE.replace('2', 'TWO')}{FENCE}\nThat is it.",
    "no fence": DOUBLE,
    "no fence, words around": f"Here it is:\n\n{DOUBLE}\nIt doubles. It is fast.",
    "inline": "Use `def double(x): return 2 * x` for it.",
    "tags": f"[PYTHON]\n{DOUBLE}[/PYTHON]",
    "answer tags": f"<answer>\n{BLOCK}\n</answer>",
    "thinking before": f"<think>{BLOCK.replace('2', '3')}</think>{BLOCK}",
    "a session": f"{FENCE}pycon\n>>> def double(x):\n...     return 2 * x\n>>> double(2)\n4\n{FENCE}",
    "HTML's entities": f"{FENCE}python\ndef double(x):\n    return 2 * x if x &lt; 9 else 2 * x\n{FENCE}",
    "asks for input": f"{FENCE}python\n{DOUBLE}\nif __name__ == '__main__':\n    print(double(int(input())))\n{FENCE}",
    "a mark of the byte order": f"{FENCE}python\n\ufeff{DOUBLE}{FENCE}",
    "a JSON object": json.dumps({"explanation": "It doubles.", "code": DOUBLE}),
    "closed behind the code": f"{FENCE}python\n{DOUBLE.rstrip()}{FENCE}\nThat is it.",
    "speaks of thinking": f"{FENCE}python\nEND = '</think>'\n{DOUBLE}{FENCE}",
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_are_found(name):
    assert runs(program(visible(PROGRAMS[name]), CHECK), CHECK)


@pytest.mark.parametrize(
    "said",
    [
        "",
        "7 8 9",
        "double(x) is twice x.",
        f"{FENCE}\n{FENCE}",
        f"<think>{BLOCK}",
        f"<think>{BLOCK}</think>I cannot.",
        f"{BLOCK}\n{FENCE}python\ndef double(x): return x\n{FENCE}",
        "def double(x): return x",
    ],
)
def test_what_is_no_right_program(said):
    assert not runs(program(visible(said), CHECK), CHECK)


def test_programs_are_found_in_time():
    start = time.process_time()
    for hostile in (
        f"{FENCE}\n" * 20_000,
        f"{FENCE}python\nx = 1\n{FENCE}\n" * 2000,
        "def f(x):\n" * 9000,
        "[PYTHON]" * 9000,
        "<code>" * 9000,
        "`def " * 9000,
        "> " * 40_000,
        "- " * 40_000 + FENCE,
        " " * 90_000 + "=",
    ):
        program(hostile, CHECK)
    assert time.process_time() - start < 10


# ---- Lists ----


def score(row: dict) -> float | None:
    if row["verifier"] != "code":
        return get_verifier(row["verifier"])(row["reply"], **row["columns"])
    if row["kind"] == "odd":
        return runs(program(visible(row["reply"]), row["columns"]["tests"]), row["columns"]["tests"])
    return 0.0 if all(map(why_not, BACKENDS)) else get_verifier("code")(row["reply"], **row["columns"])


def test_no_junk_passes():
    hostile = [row for row in REPLIES if row["kind"] == "hostile"]
    assert len(hostile) >= 60 and all(row["expected"] == 0 and row["source"] for row in hostile)
    assert [row["reply"] for row in hostile if score(row) != 0.0] == []


def test_odd_replies_score_as_a_person_scores_them():
    odd = [row for row in REPLIES if row["kind"] == "odd"]
    assert (
        len(odd) >= 100
        and sum(row["verifier"] == "refusal" for row in odd) >= 40
        and all(row["source"] for row in odd)
    )
    missed = [(row["verifier"], row["reply"]) for row in odd if score(row) != row["expected"]]
    assert len(missed) <= 0.05 * len(odd), missed


WAYS = [
    "The answer is {n}.",
    "#### {n}",
    "So the total is $\\boxed{{{latex}}}$.",
    "Thus:\n\\[\n\\boxed{{{latex}}}\n\\]",
    "**Answer:** {n}",
    "Therefore, the final answer is **${n}**.",
    "### Final Answer\n{n}",
    "The answer is \\( {latex} \\).",
    "<answer>{n}</answer>",
    "**Final Answer:** The total comes to {n} in the end.",
]


def test_the_solutions_of_gsm8k_in_ten_ways(shared_data):
    """1,319 solutions, ten ways of stating the final answer, with the right number and with another."""
    missed, count = [], 0
    for row in rows(shared_data / "gsm8k/test.jsonl"):
        worked, _, answer = row["answer"].rpartition("####")
        worked, right = re.sub(r"<<.*?>>", "", worked).strip(), int(answer.replace(",", ""))
        for way in WAYS:
            for number in (right, right + 1):
                said = f"{worked}\n{way.format(n=f'{number:,}', latex=f'{number:,}'.replace(',', '{,}'))}"
                count += 1
                if final_number(said, answer=str(right)) != float(number == right):
                    missed.append((way, number, right))
    assert missed == [] and count == 26_380


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "$",
        "7,0",
        "7e0",
        "1/0",
        "--7",
        "7 7",
        "7 or 8",
        "7 apples, not 8",
        "7 and a half",
        "7 dozen",
        "1,234,5",
        "3:4",
        "7x",
        "7π",
        "5'10",
        "7" * 400,
    ],
)
def test_what_is_no_number(text):
    assert read(text) is None


@pytest.mark.parametrize(
    "reply",
    [
        "```python def double(x): return 2 * x\n```",
        "```py def double(x): return 2 * x",
        "```python\ndef double(x):\n\u00a0\u00a0\u00a0\u00a0return 2 * x\n```",
        "```python\ndef double(x):\n \u00a0 \u00a0return 2 * x\n```",
    ],
)
def test_programs_as_chats_show_them(reply):
    """cuga-project/cuga-agent pull request 252; web pages make no-break spaces of indentation."""
    from eval.checking.programs import program

    names: dict = {}
    exec(program(reply, "assert double(2) == 4"), names)
    assert names["double"](2) == 4
