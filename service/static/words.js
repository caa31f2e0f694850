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
    undo: "Undo", undoWhat: (what) => `Undo: ${what}`, undoIn: (n) => `Undo in ${n.toLocaleString("en")} ${n === 1 ? "picture" : "pictures"}`, redoIn: (n) => `Do it again in ${n.toLocaleString("en")} ${n === 1 ? "picture" : "pictures"}`,
    redo: "Do it again", wasUndone: "undone", undoSure: (what) => `Undo this? “${what}”. What was changed again since stays as it is.`,
    typeFirst: "The field is empty: type a name first.", mendFirst: "Part of the search cannot be read, so it is not sure which pictures are meant: mend it first.", editEvery: (n) => `Edit all ${n.toLocaleString("en")} pictures`,
    picture: "Picture", library: "Library",
    undone: (n, left) => `${n.toLocaleString("en")} put back${left ? `, ${left} changed since and left` : ""}`,
    takenBack: (tag) => `nothing said of ${tag}`, history: "History", nothingYet: "Nothing was changed yet.", dictionary: "Dictionary", help: "Help", language: "Language",
    dropHere: "Drop a picture to find those like it", similarTo: "Pictures like the one you dropped", noModel: "This service has no model: start it with --model.",
    review: "Review", copies: "Copies", calls: "For programs",
    keys: [["/", "search"], ["↑ ↓ Enter", "choose a suggestion"], ["← → ↑ ↓", "from picture to picture"], ["Enter", "open"], ["Esc", "close"], ["x", "select"], ["?", "this help"]],
    syntax: "cat or dog · -hat · (a or b) c · *_hair · character:… · rating:general · score:>0.8 · source:human · similar:7 · order:new",
    names: "Names", kind: "Kind", name: "Name", display: "shown", synonym: "synonym", abbreviation: "abbreviation", "former key": "former key", "community key": "key elsewhere",
    implies: "Implies", groups: "Groups", keysOf: "Keys", merge: "Merge into", mergeHint: "All names, relations and groups go along.", hideConcept: "Leave out of suggestions", showConcept: "Suggest again",
    journal: "Journal", newConcept: "New concept", key: "Key", category: "Category", find: "Find a concept", conflict: "Somebody changed it in between; this is how it is now.",
    actions: { add: "Add", rename: "Rename", merge: "Merge", split: "Split", relate: "Relations", group: "Groups", weigh: "Weight", hide: "Hide or take away", import: "Import", undo: "Undo" },
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
    undo: "元に戻す", undoWhat: (what) => `元に戻す：${what}`, undoIn: (n) => `${n.toLocaleString("ja")} 枚を元に戻す`, redoIn: (n) => `${n.toLocaleString("ja")} 枚でやり直す`,
    redo: "やり直す", wasUndone: "取り消し済み", undoSure: (what) => `この変更を元に戻しますか？「${what}」。その後に変更されたものはそのまま残ります。`,
    typeFirst: "入力欄が空です。名前を入力してください。", mendFirst: "検索に読み取れない部分があり、対象の画像が決まりません。先に直してください。", editEvery: (n) => `全 ${n.toLocaleString("ja")} 枚を編集`,
    picture: "画像", library: "ライブラリ",
    undone: (n, left) => `${n.toLocaleString("ja")} 件戻しました${left ? `（その後変更された ${left} 件はそのまま）` : ""}`,
    takenBack: (tag) => `${tag} の判断を取り消し`, history: "履歴", nothingYet: "まだ変更はありません。", dictionary: "辞書", help: "ヘルプ", language: "言語",
    dropHere: "画像をドロップすると似た画像を探します", similarTo: "ドロップした画像に似た画像", noModel: "モデルがありません：--model を付けて起動してください。",
    review: "確認作業", copies: "重複", calls: "プログラム向け",
    keys: [["/", "検索"], ["↑ ↓ Enter", "候補を選ぶ"], ["← → ↑ ↓", "画像を移動"], ["Enter", "開く"], ["Esc", "閉じる"], ["x", "選択"], ["?", "このヘルプ"]],
    syntax: "猫 or 犬 · -帽子 · (a or b) c · *_hair · character:… · rating:general · score:>0.8 · source:human · similar:7 · order:new",
    names: "名前", kind: "種類", name: "名前", display: "表示名", synonym: "別名", abbreviation: "略称", "former key": "旧キー", "community key": "他のキー",
    implies: "含意", groups: "分類", keysOf: "キー", merge: "統合先", mergeHint: "名前・関係・分類はすべて引き継がれます。", hideConcept: "候補に出さない", showConcept: "候補に出す",
    journal: "変更履歴", newConcept: "新しい項目", key: "キー", category: "カテゴリ", find: "項目を探す", conflict: "その間に誰かが変更しました。今の内容です。",
    actions: { add: "追加", rename: "名前の変更", merge: "統合", split: "分割", relate: "関係", group: "分類", weigh: "重み", hide: "非表示・削除", import: "インポート", undo: "元に戻す" },
    favourite: "お気に入り", notFound: "その名前はありません。", back: "画像に戻る", who: "履歴に残す名前",
    categories: { general: "一般", character: "キャラクター", copyright: "作品", series: "作品", artist: "作者", meta: "メタ", system: "システム", rating: "レーティング" },
    mistakes: {
      "too long": "検索が長すぎます。残りは無視されます",
      "too many": "タグが多すぎます。残りは無視されます",
      "too deep": "かっこの入れ子が深すぎます",
      "or": "or は二つのタグの間に書きます",
      "minus": "マイナスの後に何もありません。タグの直前に書いてください",
      "bracket not opened": "対応する開きかっこがありません。かっこで始まるタグは引用符で囲んでください",
      "bracket not closed": "かっこが閉じていません",
      "brackets empty": "かっこの中が空です",
      "quotes not closed": "引用符が閉じていません",
      "quotes empty": "引用符の中が空です",
      "stands alone": "これは単独で書きます",
      "nothing follows": "コロンの後に何もありません",
      "score": "スコアは 0 から 1 の数です。例：score:>0.8",
      "id": "id は数です。範囲は id:10..20 のように書きます",
      "range": "範囲は小さい数から書きます。例：id:10..20",
      "similar": "similar: の後には画像の id を書きます",
      "order": "並び順は best、new、old、score、random です",
      "rating unknown": "この名前のレーティングはありません",
      "model unknown": "この名前のモデルはありません。human、model、またはモデル名を書きます",
      "no vectors": "このライブラリには特徴ベクトルがありません。特徴を出すモデルで engine run を実行すると保存されます",
      "nothing similar": "この画像に似た画像は見つかりません。特徴ベクトルがまだないか、似たものがありません",
    },
    dropped: {
      408: "画像が時間内に届きませんでした。", 413: "画像ファイルが大きすぎます。", 422: "画像として読み取れません：壊れているか、対応していない形式か、大きすぎます。", 503: "混み合っているか、モデルが動いていません。少し待ってからもう一度お試しください。",
      "no vectors": "このライブラリには特徴ベクトルがないので、似た画像を探せません。特徴を出すモデルで engine run を実行すると保存されます。",
      "no features": "このサービスのモデルは特徴を出さないので、似た画像を探せません。別の --model で起動してください。",
      "other model": "ライブラリの特徴ベクトルは別のモデルのものです。そのモデルを --model に指定するか、engine retag で付け直してください。",
    },
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
    undo: "撤销", undoWhat: (what) => `撤销：${what}`, undoIn: (n) => `撤销这 ${n.toLocaleString("zh")} 张的修改`, redoIn: (n) => `对这 ${n.toLocaleString("zh")} 张重做`,
    redo: "重做", wasUndone: "已撤销", undoSure: (what) => `要撤销这次修改吗？“${what}”。之后又改过的保持不变。`,
    typeFirst: "输入框是空的：请先输入名称。", mendFirst: "搜索里有读不懂的部分，无法确定是哪些图片：请先改正。", editEvery: (n) => `编辑全部 ${n.toLocaleString("zh")} 张`,
    picture: "图片", library: "图库",
    undone: (n, left) => `已恢复 ${n.toLocaleString("zh")} 处${left ? `，${left} 处之后又改过，保持不变` : ""}`,
    takenBack: (tag) => `收回对 ${tag} 的判断`, history: "历史", nothingYet: "还没有任何修改。", dictionary: "词典", help: "帮助", language: "语言",
    dropHere: "拖入一张图片，以图搜图", similarTo: "与拖入的图片相似", noModel: "这个服务没有模型：请用 --model 启动。",
    review: "审核", copies: "重复图片", calls: "程序接口",
    keys: [["/", "搜索"], ["↑ ↓ Enter", "选择建议"], ["← → ↑ ↓", "在图片间移动"], ["Enter", "打开"], ["Esc", "关闭"], ["x", "选择"], ["?", "本帮助"]],
    syntax: "猫 or 狗 · -帽子 · (a or b) c · *_hair · character:… · rating:general · score:>0.8 · source:human · similar:7 · order:new",
    names: "名称", kind: "种类", name: "名称", display: "显示名", synonym: "同义词", abbreviation: "缩写", "former key": "旧键", "community key": "别处的键",
    implies: "蕴含", groups: "分类", keysOf: "键", merge: "合并到", mergeHint: "所有名称、关系和分类都会一起过去。", hideConcept: "不再建议", showConcept: "重新建议",
    journal: "修改日志", newConcept: "新概念", key: "键", category: "类别", find: "查找概念", conflict: "有人在此期间改过；这是现在的内容。",
    actions: { add: "添加", rename: "改名", merge: "合并", split: "拆分", relate: "关系", group: "分类", weigh: "权重", hide: "隐藏或删除", import: "导入", undo: "撤销" },
    favourite: "收藏", notFound: "没有这个名称。", back: "回到图片", who: "您的名字（写进日志）",
    categories: { general: "一般", character: "角色", copyright: "作品", series: "作品", artist: "画师", meta: "元信息", system: "系统", rating: "分级" },
    mistakes: {
      "too long": "搜索太长：其余部分已忽略",
      "too many": "标签太多：其余部分已忽略",
      "too deep": "括号嵌套太深",
      "or": "or 要写在两个标签之间",
      "minus": "减号后面没有内容：请紧挨着写在标签前",
      "bracket not opened": "没有对应的左括号：以括号开头的标签请加引号",
      "bracket not closed": "括号没有闭合",
      "brackets empty": "括号里没有内容",
      "quotes not closed": "引号没有闭合",
      "quotes empty": "引号里没有内容",
      "stands alone": "这个要单独写",
      "nothing follows": "冒号后面没有内容",
      "score": "分数是 0 到 1 的数，例如 score:>0.8",
      "id": "id 是数字，范围写作 id:10..20",
      "range": "范围要从小的数字开始，例如 id:10..20",
      "similar": "similar: 后面要写图片的 id",
      "order": "排序有 best、new、old、score、random",
      "rating unknown": "没有这个名称的分级",
      "model unknown": "没有这个名称的模型：可以写 human、model 或模型的名称",
      "no vectors": "这个图库没有特征向量：用能给出特征的模型执行 engine run 就会保存",
      "nothing similar": "没有与这张图片相似的：它还没有特征向量，或者没有相似的图片",
    },
    dropped: {
      408: "图片没有及时传到。", 413: "图片文件太大。", 422: "无法读取这张图片：文件损坏、格式不支持或尺寸太大。", 503: "服务正忙，或模型无法运行：请稍后再试。",
      "no vectors": "这个图库没有特征向量，无法查找相似图片：用能给出特征的模型执行 engine run 就会保存。",
      "no features": "这个服务的模型不给出特征，无法查找相似图片：请换一个 --model 启动。",
      "other model": "图库的特征向量来自另一个模型：请用那个 --model 启动，或用 engine retag 重新打标签。",
    },
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

/** What the service names by a code or a word of its own; `otherwise` where this language has nothing for it. */
export const named = (kind, code, otherwise) => WORDS[language][kind]?.[code] ?? otherwise;

/** A word, and what it is said of. */
export const titled = (word, rest) => `${word}${language === "en" ? ": " : "："}${rest}`;

export const category = (name) => named("categories", name.toLowerCase(), name);

/** What a page of its own says beside: {en: {…}, ja: {…}, zh: {…}}. */
export function teach(words) {
  for (const [code, more] of Object.entries(words)) Object.assign(WORDS[code], more);
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
