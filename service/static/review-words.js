// What the pages of review and of copies say beside the words that all pages share.

import { teach } from "./words.js";

const n = (value, lang) => value.toLocaleString(lang);

teach({
  en: {
    is: "Yes", isNot: "No", uncertain: "Uncertain first", suspicious: "Suspicious first", findTag: "A tag to review, by any of its names",
    doesItHave: (name) => `Does the picture show: ${name}?`, reviewed: "Reviewed so far", verdicts: "Verdicts", threshold: "Threshold", precision: "Precision", recall: "Recall",
    leftToJudge: (judged, left) => `${n(judged, "en")} judged, ${n(left, "en")} left`, choosing: "Choose a tag: then say yes or no to one picture after the other.",
    allJudged: "All of these pictures are judged.", noneSuspicious: "Nothing is suspicious: the neighbours of all pictures agree, or the library has no vectors (docs/similar.md).",
    neededMore: (k) => `${k} more ${k === 1 ? "verdict" : "verdicts"} until there is a threshold`, noYes: "No verdict is a yes so far: no threshold is better than another.",
    bestThreshold: "Best threshold", inUse: (value) => `in use now: ${value}`, whatModels: "whatever the model posted", interval: (low, high) => `95 %: ${low} to ${high}`,
    lowest: "The best may lie lower still, but the library has no lower scores.",
    loses: (k) => `${n(k, "en")} ${k === 1 ? "picture" : "pictures"} would lose the tag`, gains: (k) => `${n(k, "en")} ${k === 1 ? "picture" : "pictures"} would have it again`, nothingChanges: "The library goes by it.",
    use: (value) => `Use ${value} in this library`, unuse: "Take the threshold away", nowCounts: (name, value) => `${name} counts from ${value} now`, postIt: "To post it to the media API:", copy: "Copy", copied: "Copied",
    unscored: (looked, pictures) => `Of ${n(pictures, "en")} pictures without a score, ${n(looked, "en")} were looked at; share with the tag`,
    from: (k, yes) => `from ${n(k, "en")} verdicts, ${n(yes, "en")} of them yes`,
    judgedBy: (who, yes) => `${who} had judged it: ${yes ? "yes" : "no"}`, doubt: (share) => `${share} % of its neighbours lack it`,
    reviewKeys: [["Y", "yes, it shows this"], ["N", "no"], ["← → ↑ ↓", "from picture to picture"], ["U", "undo the last"], ["Space", "look closely"], ["Esc", "back"]],
    reviewHelp: "Most pictures are those about which the model is least sure; some are drawn at random, so that the estimate holds for all. Of copies only one is asked about.",
    noCopies: "No two pictures are copies of each other", noCopiesHint: "Copies are known where a model with features tagged the library.", groupCount: (k) => `${n(k, "en")} ${k === 1 ? "group" : "groups"} of copies`, searchThese: "Find these",
  },
  ja: {
    is: "はい", isNot: "いいえ", uncertain: "不確かな順", suspicious: "疑わしい順", findTag: "確認するタグ（どの名前でも）",
    doesItHave: (name) => `この画像は「${name}」ですか？`, reviewed: "確認したタグ", verdicts: "判定", threshold: "しきい値", precision: "適合率", recall: "再現率",
    leftToJudge: (judged, left) => `判定済み ${n(judged, "ja")}、残り ${n(left, "ja")}`, choosing: "タグを選んで、画像ごとに「はい」か「いいえ」を答えてください。",
    allJudged: "すべて判定しました。", noneSuspicious: "疑わしい画像はありません。似た画像がすべて一致しているか、ベクトルがありません（docs/similar.md）。",
    neededMore: (k) => `しきい値まであと ${k} 件の判定`, noYes: "まだ「はい」がないので、しきい値を選べません。",
    bestThreshold: "最良のしきい値", inUse: (value) => `現在：${value}`, whatModels: "モデルが付けたものすべて", interval: (low, high) => `95 %：${low} 〜 ${high}`,
    lowest: "最良値はもっと低いかもしれませんが、それより低いスコアがありません。",
    loses: (k) => `${n(k, "ja")} 枚からこのタグが外れます`, gains: (k) => `${n(k, "ja")} 枚にこのタグが戻ります`, nothingChanges: "このしきい値を使用中です。",
    use: (value) => `このライブラリで ${value} を使う`, unuse: "しきい値を外す", nowCounts: (name, value) => `「${name}」は ${value} 以上で有効になりました`, postIt: "メディア API に送るには：", copy: "コピー", copied: "コピーしました",
    unscored: (looked, pictures) => `スコアのない ${n(pictures, "ja")} 枚のうち ${n(looked, "ja")} 枚を確認。タグがあった割合`,
    from: (k, yes) => `判定 ${n(k, "ja")} 件、うち「はい」${n(yes, "ja")} 件`,
    judgedBy: (who, yes) => `${who} が判定済み：${yes ? "はい" : "いいえ"}`, doubt: (share) => `似た画像の ${share} % にはない`,
    reviewKeys: [["Y", "はい"], ["N", "いいえ"], ["← → ↑ ↓", "画像を移動"], ["U", "直前を元に戻す"], ["Space", "拡大"], ["Esc", "戻る"]],
    reviewHelp: "多くはモデルが最も迷う画像です。推定が全体に当てはまるよう、一部は無作為に選ばれます。重複はその中の1枚だけを確認します。",
    noCopies: "重複した画像はありません", noCopiesHint: "特徴ベクトルのあるモデルでタグを付けると、重複がわかります。", groupCount: (k) => `重複 ${n(k, "ja")} 組`, searchThese: "この組を検索",
  },
  zh: {
    is: "是", isNot: "不是", uncertain: "不确定的在前", suspicious: "可疑的在前", findTag: "要审核的标签，任何名称都可以",
    doesItHave: (name) => `这张图是“${name}”吗？`, reviewed: "已审核的标签", verdicts: "判定", threshold: "阈值", precision: "精确率", recall: "召回率",
    leftToJudge: (judged, left) => `已判定 ${n(judged, "zh")}，还剩 ${n(left, "zh")}`, choosing: "选择一个标签，然后逐张回答“是”或“不是”。",
    allJudged: "这些图片都已判定。", noneSuspicious: "没有可疑的图片：相似图片都一致，或图库还没有向量（docs/similar.md）。",
    neededMore: (k) => `再判定 ${k} 张就有阈值`, noYes: "还没有“是”的判定，无法比较阈值。",
    bestThreshold: "最佳阈值", inUse: (value) => `现用：${value}`, whatModels: "模型给出的全部", interval: (low, high) => `95 %：${low} 至 ${high}`,
    lowest: "最佳值可能更低，但图库里没有更低的分数。",
    loses: (k) => `${n(k, "zh")} 张图片将失去这个标签`, gains: (k) => `${n(k, "zh")} 张图片将重新有这个标签`, nothingChanges: "图库正在使用这个阈值。",
    use: (value) => `在本图库使用 ${value}`, unuse: "去掉阈值", nowCounts: (name, value) => `“${name}”现在从 ${value} 起算`, postIt: "发送到媒体 API：", copy: "复制", copied: "已复制",
    unscored: (looked, pictures) => `没有分数的 ${n(pictures, "zh")} 张中看了 ${n(looked, "zh")} 张；其中有此标签的比例`,
    from: (k, yes) => `依据 ${n(k, "zh")} 个判定，其中 ${n(yes, "zh")} 个“是”`,
    judgedBy: (who, yes) => `${who} 已判定：${yes ? "是" : "不是"}`, doubt: (share) => `${share} % 的相似图片没有它`,
    reviewKeys: [["Y", "是"], ["N", "不是"], ["← → ↑ ↓", "在图片间移动"], ["U", "撤销上一个"], ["空格", "放大查看"], ["Esc", "返回"]],
    reviewHelp: "多数是模型最拿不准的图片；少数随机抽取，使估计对全部图片成立。重复图片只问其中一张。",
    noCopies: "没有重复的图片", noCopiesHint: "用带特征向量的模型打过标签后，就能找出重复图片。", groupCount: (k) => `${n(k, "zh")} 组重复图片`, searchThese: "查找这些",
  },
});
