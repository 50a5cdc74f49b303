"""Characters that a reader takes for one another, in groups. Compiled for regard.

LATIN: a letter, then letters of the same shape in Cyrillic, Greek, Armenian or phonetic script (such as Unicode
Technical Standard 39 calls confusable), or a digit. CHINESE: characters that differ in a stroke or a part, in any
order.
"""

from __future__ import annotations

LATIN = (  # noqa: SIM905
    "aаɑ bЬ cсϲ dԁ eе gɡ hһ iі jј kк lӏ1 mм nո oоο0 pрρ qԛ rг sѕ tт uս vѵν wԝ xх yу zᴢ "
    "AАΑ BВΒ CС EЕΕ FϜ HНΗ IІΙ JЈ KКΚ MМΜ NΝ OОΟ PРΡ QԚ SЅ TТΤ VѴ WԜ XХΧ YҮΥ ZΖ"
).split()
CHINESE = (  # noqa: SIM905
    "己已巳 末未 土士 日曰 人入八 大太犬 天夭夫 千干于 午牛 田由甲申 白自 目且 木本术 贝见 王玉主 今令 "
    "刀力刁 几九 又叉 戊戌戍 崇祟 微徵徽 侯候 晴睛 辨辩辫 密蜜 拔拨 折拆析 即既 住往注 师帅 庆厌 风凤 鸟乌 "
    "免兔 治冶 洒酒 粟栗 尸户 厂广 儿几 万方 处外 便使 买卖 间问 休体 因困囚 名各 代伐 狠狼 喝渴 清请情晴 "
    "很恨 根跟 像象 坐座 幕墓慕暮 遣遗 哀衰衷 兢竞 赢羸 盲肓 撤撒 祛怯 徒徙 暑署 戴载 冒昌 券卷 复夏 竟竞 "
    "圆园 历厉 元无 失矢 手毛 水永 小少 去丢 北比 可司 平乎 只兄 半羊 仓仑 反友 勾匀 勿匆 亨享 孤狐弧 抓爪 "
    "帐账 陪赔 蓝篮 练炼 明朋 的旳 他她 那哪 了子 好奴 看着 来未 对时 不丕 上土 下卞 中申 国围 会合 生主 "
    "年午 说税 学字 会全 没设 要耍 心必 开井 两雨 面而 工王 心芯 话活 电申 老考 点占 气乞 片斤 官宫 宜宣 "
    "准淮 拘抱 科料 候侯 材村 待侍 待持 特持 惊凉 晾凉 读续 评坪 诉拆 偏编 遍偏 漂飘"
).split()
