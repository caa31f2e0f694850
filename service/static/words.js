// What the page says, in Simplified Chinese, Japanese and English; the browser's language is the first choice.

const count = (one, many) => (n) => `${n.toLocaleString("en")} ${n === 1 ? one : many}`;

const WORDS = {
  en: {
    pictures: count("picture", "pictures"), tagged: "tagged", tags: "tags", pictureCount: "pictures",
    search: "Search: a name in any language, -without, (a or b)", and: "and …", nothing: "No picture matches",
    nothingHint: "All that is asked for must hold. Take a chip away, or turn one round by a click.", clear: "Clear the search",
    noPictures: "No pictures yet", noPicturesHint: "Put some into the library's folder: they appear here within a minute.",
    away: "The service does not answer.", noneTagged: "none tagged yet: engine run --library tags them",
    untagged: (n) => `${n.toLocaleString("en")} still without tags`, bestFirst: "best match first",
    noTags: "no tags yet", order: "Order", best: "Best match", new: "Newest first", old: "Oldest first", random: "Random",
    browse: "Browse", ratings: "Ratings", least: "Least score", hide: "hide", shown: "shown", hidden: "hidden",
    facets: "In these pictures", without: "without", remove: "Remove", choose: "Which one?", any: "any of them",
    meant: "Did you mean", unknown: (name) => `Nothing is called “${name}”.`,
    tagAgain: "Tag again", willTag: "Will be tagged again", gone: "It is not there any more", openFile: "Open the file",
    moreLike: "More like this", addTag: "Add a tag", yes: "It has this tag", no: "It does not have this tag", said: "you said so",
    searchFor: (name) => `Search ${name}`, close: "Close (Esc)", previous: "Previous (←)", next: "Next (→)", actual: "Actual size (z)",
    select: "Select", selected: (n) => `${n.toLocaleString("en")} selected`, editFound: (n) => `Edit all ${n.toLocaleString("en")} found`,
    edit: "Edit tags", add: "Add", takeAway: "Take away", preview: "Preview", apply: "Do it", cancel: "Cancel",
    wouldChange: (tag, n) => `${tag}: ${n.toLocaleString("en")} would change`, changed: (n) => `${n.toLocaleString("en")} changed`,
    undo: "Undo", undone: (n, left) => `${n.toLocaleString("en")} put back${left ? `, ${left} changed since and left` : ""}`,
    history: "History", nothingYet: "Nothing was changed yet.", dictionary: "Dictionary", help: "Help", language: "Language",
    dropHere: "Drop a picture to find those like it", similarTo: "Pictures like the one you dropped", noModel: "This service has no model: start it with --model.",
    review: "Review", copies: "Copies", calls: "For programs",
    keys: [["/", "search"], ["↑ ↓ Enter", "choose a suggestion"], ["← → ↑ ↓", "from picture to picture"], ["Enter", "open"], ["Esc", "close"], ["x", "select"], ["?", "this help"]],
    syntax: "cat or dog · -hat · (a or b) c · *_hair · character:… · rating:general · score:>0.8 · source:human · similar:7 · order:new",
    names: "Names", kind: "Kind", name: "Name", display: "shown", synonym: "synonym", abbreviation: "abbreviation", "former key": "former key", "community key": "key elsewhere",
    implies: "Implies", groups: "Groups", keysOf: "Keys", merge: "Merge into", mergeHint: "All names, relations and groups go along.", hideConcept: "Leave out of suggestions", showConcept: "Suggest again",
    journal: "Journal", newConcept: "New concept", key: "Key", category: "Category", find: "Find a concept", conflict: "Somebody changed it in between; this is how it is now.",
    favourite: "Favourite", notFound: "Nothing is called so.", back: "Back to the pictures", who: "Your name, for the journal",
  },
  ja: {
    pictures: (n) => `${n.toLocaleString("ja")} 枚`, tagged: "タグあり", tags: "タグ", pictureCount: "画像",
    search: "検索：どの言語の名前でも。-除外、(a or b)", and: "さらに…", nothing: "一致する画像がありません",
    nothingHint: "すべての条件に合う画像だけが出ます。条件を外すか、クリックで反転してください。", clear: "検索をクリア",
    noPictures: "まだ画像がありません", noPicturesHint: "ライブラリのフォルダーに入れると、1分以内に表示されます。",
    away: "サービスが応答しません。", noneTagged: "まだタグがありません：engine run --library で付けられます",
    untagged: (n) => `タグなし ${n.toLocaleString("ja")} 枚`, bestFirst: "一致度の高い順",
    noTags: "タグなし", order: "並び順", best: "一致度順", new: "新しい順", old: "古い順", random: "ランダム",
    browse: "分類から探す", ratings: "レーティング", least: "最低スコア", hide: "隠す", shown: "表示", hidden: "非表示",
    facets: "この中のタグ", without: "除外", remove: "外す", choose: "どれですか？", any: "どれでも",
    meant: "もしかして", unknown: (name) => `「${name}」という名前はありません。`,
    tagAgain: "タグを付け直す", willTag: "次に付け直します", gone: "もうありません", openFile: "ファイルを開く",
    moreLike: "似た画像", addTag: "タグを追加", yes: "このタグで正しい", no: "このタグは違う", said: "手動",
    searchFor: (name) => `${name} を検索`, close: "閉じる (Esc)", previous: "前へ (←)", next: "次へ (→)", actual: "原寸 (z)",
    select: "選択", selected: (n) => `${n.toLocaleString("ja")} 枚を選択中`, editFound: (n) => `検索結果 ${n.toLocaleString("ja")} 枚を編集`,
    edit: "タグを編集", add: "追加", takeAway: "削除", preview: "プレビュー", apply: "実行", cancel: "キャンセル",
    wouldChange: (tag, n) => `${tag}：${n.toLocaleString("ja")} 枚が変わります`, changed: (n) => `${n.toLocaleString("ja")} 件変更しました`,
    undo: "元に戻す", undone: (n, left) => `${n.toLocaleString("ja")} 件戻しました${left ? `（その後変更された ${left} 件はそのまま）` : ""}`,
    history: "履歴", nothingYet: "まだ変更はありません。", dictionary: "辞書", help: "ヘルプ", language: "言語",
    dropHere: "画像をドロップすると似た画像を探します", similarTo: "ドロップした画像に似た画像", noModel: "モデルがありません：--model を付けて起動してください。",
    review: "確認作業", copies: "重複", calls: "プログラム向け",
    keys: [["/", "検索"], ["↑ ↓ Enter", "候補を選ぶ"], ["← → ↑ ↓", "画像を移動"], ["Enter", "開く"], ["Esc", "閉じる"], ["x", "選択"], ["?", "このヘルプ"]],
    syntax: "猫 or 犬 · -帽子 · (a or b) c · *_hair · character:… · rating:general · score:>0.8 · source:human · similar:7 · order:new",
    names: "名前", kind: "種類", name: "名前", display: "表示名", synonym: "別名", abbreviation: "略称", "former key": "旧キー", "community key": "他のキー",
    implies: "含意", groups: "分類", keysOf: "キー", merge: "統合先", mergeHint: "名前・関係・分類はすべて引き継がれます。", hideConcept: "候補に出さない", showConcept: "候補に出す",
    journal: "変更履歴", newConcept: "新しい項目", key: "キー", category: "カテゴリ", find: "項目を探す", conflict: "その間に誰かが変更しました。今の内容です。",
    favourite: "お気に入り", notFound: "その名前はありません。", back: "画像に戻る", who: "履歴に残す名前",
  },
  zh: {
    pictures: (n) => `${n.toLocaleString("zh")} 张图片`, tagged: "已打标签", tags: "标签", pictureCount: "图片",
    search: "搜索：任何语言的名称，-排除，(a or b)", and: "还要…", nothing: "没有符合的图片",
    nothingHint: "所有条件都要满足。去掉一个条件，或点击它来反选。", clear: "清空搜索",
    noPictures: "还没有图片", noPicturesHint: "把图片放进图库文件夹，一分钟内就会出现。",
    away: "服务没有响应。", noneTagged: "还没有标签：用 engine run --library 打标签",
    untagged: (n) => `${n.toLocaleString("zh")} 张还没有标签`, bestFirst: "最匹配的在前",
    noTags: "还没有标签", order: "排序", best: "最匹配", new: "最新", old: "最早", random: "随机",
    browse: "按分类浏览", ratings: "分级", least: "最低分数", hide: "隐藏", shown: "显示", hidden: "隐藏",
    facets: "这些图片里有", without: "排除", remove: "去掉", choose: "是哪一个？", any: "任何一个",
    meant: "您是不是要找", unknown: (name) => `没有叫“${name}”的标签。`,
    tagAgain: "重新打标签", willTag: "将会重新打标签", gone: "已经不在了", openFile: "打开文件",
    moreLike: "找相似图片", addTag: "添加标签", yes: "确认这个标签", no: "这个标签不对", said: "人工",
    searchFor: (name) => `搜索 ${name}`, close: "关闭 (Esc)", previous: "上一张 (←)", next: "下一张 (→)", actual: "原始大小 (z)",
    select: "选择", selected: (n) => `已选 ${n.toLocaleString("zh")} 张`, editFound: (n) => `编辑找到的全部 ${n.toLocaleString("zh")} 张`,
    edit: "编辑标签", add: "添加", takeAway: "删除", preview: "预览", apply: "执行", cancel: "取消",
    wouldChange: (tag, n) => `${tag}：将改变 ${n.toLocaleString("zh")} 张`, changed: (n) => `已改变 ${n.toLocaleString("zh")} 处`,
    undo: "撤销", undone: (n, left) => `已恢复 ${n.toLocaleString("zh")} 处${left ? `，${left} 处之后又改过，保持不变` : ""}`,
    history: "历史", nothingYet: "还没有任何修改。", dictionary: "词典", help: "帮助", language: "语言",
    dropHere: "拖入一张图片，以图搜图", similarTo: "与拖入的图片相似", noModel: "这个服务没有模型：请用 --model 启动。",
    review: "审核", copies: "重复图片", calls: "程序接口",
    keys: [["/", "搜索"], ["↑ ↓ Enter", "选择建议"], ["← → ↑ ↓", "在图片间移动"], ["Enter", "打开"], ["Esc", "关闭"], ["x", "选择"], ["?", "本帮助"]],
    syntax: "猫 or 狗 · -帽子 · (a or b) c · *_hair · character:… · rating:general · score:>0.8 · source:human · similar:7 · order:new",
    names: "名称", kind: "种类", name: "名称", display: "显示名", synonym: "同义词", abbreviation: "缩写", "former key": "旧键", "community key": "别处的键",
    implies: "蕴含", groups: "分类", keysOf: "键", merge: "合并到", mergeHint: "所有名称、关系和分类都会一起过去。", hideConcept: "不再建议", showConcept: "重新建议",
    journal: "修改日志", newConcept: "新概念", key: "键", category: "类别", find: "查找概念", conflict: "有人在此期间改过；这是现在的内容。",
    favourite: "收藏", notFound: "没有这个名称。", back: "回到图片", who: "您的名字（写进日志）",
  },
};

const TAGS = { en: "en", ja: "ja", zh: "zh-Hans" };
export const LANGUAGES = { zh: "简体中文", ja: "日本語", en: "English" };

function preferred() {
  const kept = localStorage.getItem("language");
  for (const wanted of [kept, ...navigator.languages]) {
    const short = wanted?.slice(0, 2).toLowerCase();
    if (short in WORDS) return short;
  }
  return "en";
}

export const language = preferred();
/** BCP 47, as the service takes it. */
export const lang = TAGS[language];

export function choose(other) {
  localStorage.setItem("language", other);
  location.reload();
}

/** t("pictures", 5); what a language lacks is said in English. */
export function t(key, ...values) {
  const word = WORDS[language][key] ?? WORDS.en[key] ?? key;
  return typeof word === "function" ? word(...values) : word;
}

/** Fills in what index.html leaves open: data-t is the text, data-title the title and label. */
export function translate(root = document) {
  document.documentElement.lang = lang;
  for (const element of root.querySelectorAll("[data-t]")) element.textContent = t(element.dataset.t);
  for (const element of root.querySelectorAll("[data-title]")) {
    element.title = t(element.dataset.title);
    element.setAttribute("aria-label", t(element.dataset.title));
  }
  for (const element of root.querySelectorAll("[data-placeholder]")) {
    element.placeholder = t(element.dataset.placeholder);
    element.setAttribute("aria-label", t(element.dataset.placeholder));
  }
}
