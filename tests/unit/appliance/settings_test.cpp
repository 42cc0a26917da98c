// Settings as `key=value` words: every key, wrong words and the sentences about them. The table in
// docs/SETTINGS.md must be the table in the code.
#include "appliance/settings.h"
#include "compute/kernels/instruction_set.h"

#include <gtest/gtest.h>

#include <fstream>
#include <sstream>
#include <string>
#include <vector>

namespace bareflow {
namespace {

struct Sentences : SettingsListener {
    void on_bad_setting(std::string_view sentence) override { list.emplace_back(sentence); }
    std::vector<std::string> list;
};

struct Applied {
    Settings settings;
    std::vector<std::string> sentences;
};

Applied apply(std::string_view text) {
    Applied result;
    Sentences sentences;
    apply_settings(text, "test", result.settings, sentences);
    result.sentences = sentences.list;
    return result;
}

TEST(Settings, DefaultsStandWithoutWords) {
    const Applied applied = apply("  \t\r\n ");
    EXPECT_TRUE(applied.sentences.empty());
    EXPECT_EQ(applied.settings.port, 80);
    EXPECT_EQ(applied.settings.address, SettingsIpv4{});
    EXPECT_EQ(applied.settings.jit, JitMode::kFull);
    EXPECT_EQ(applied.settings.threads, 0U);
    EXPECT_FALSE(applied.settings.relaxed);
}

TEST(Settings, EveryKeyTakesAValue) {
    const Applied applied = apply(
        "address=192.168.7.9/16 gateway=192.168.0.1 port=8081 context=64 jit=baseline jit.warm=2 "
        "jit.hot=3 jit.very_hot=4 console=serial max_tokens=99 queue=0 selftest=divide model=disk "
        "threads=3 slots=7 kv=q8_0 jit.isa=avx2 profile=off numerics=fast");
    EXPECT_TRUE(applied.sentences.empty()) << applied.sentences[0];
    const Settings &s = applied.settings;
    EXPECT_EQ(s.address, (SettingsIpv4{{192, 168, 7, 9}}));
    EXPECT_EQ(s.prefix_len, 16);
    EXPECT_EQ(s.gateway, (SettingsIpv4{{192, 168, 0, 1}}));
    EXPECT_EQ(s.port, 8081);
    EXPECT_EQ(s.context, 64U);
    EXPECT_EQ(s.jit, JitMode::kBaseline);
    EXPECT_FALSE(s.profile);
    EXPECT_TRUE(s.relaxed);
    EXPECT_EQ(s.jit_isa, compute::InstructionSet::kAvx2);
    EXPECT_EQ(s.jit_warm, 2U);
    EXPECT_EQ(s.jit_hot, 3U);
    EXPECT_EQ(s.jit_very_hot, 4U);
    EXPECT_EQ(s.console, ConsoleMode::kSerial);
    EXPECT_EQ(s.max_tokens, 99U);
    EXPECT_EQ(s.queue, 0U);
    EXPECT_EQ(s.threads, 3U);
    EXPECT_EQ(s.slots, 7U);
    EXPECT_EQ(s.kv, compute::KvType::kQ8_0);
    EXPECT_EQ(s.selftest, SelfTest::kDivide);
    EXPECT_EQ(s.model, ModelSource::kDisk);
}

TEST(Settings, LaterOnesWin) {
    Settings settings;
    Sentences sentences;
    apply_settings("port=81 context=7", "image", settings, sentences);
    apply_settings("port=82", "kernel line", settings, sentences);
    apply_settings("port=83 address=10.0.0.1", "fw_cfg", settings, sentences);
    apply_settings("address=dhcp", "fw_cfg", settings, sentences);
    EXPECT_EQ(settings.port, 83);
    EXPECT_EQ(settings.context, 7U);
    EXPECT_EQ(settings.address, SettingsIpv4{});
    EXPECT_TRUE(sentences.list.empty());
}

TEST(Settings, BadWordsAreNamedAndLeaveTheValue) {
    struct Case {
        const char *word;
        const char *sentence_part;
    };
    const Case cases[] = {
        {"port", "not key=value"},
        {"=80", "not key=value"},
        {"prot=80", "'prot' (test) is unknown"},
        {"port=", "'port' (test) cannot be ''"},
        {"port=0", "cannot be '0', only 1-65535"},
        {"port=65536", "cannot be"},
        {"port=99999999999999999999999999", "cannot be"},
        {"port=+80", "cannot be"},
        {"port=8 0", "not key=value"},
        {"address=1.2.3", "cannot be"},
        {"address=1.2.3.4.5", "cannot be"},
        {"address=1.2.3.256", "cannot be"},
        {"address=1.2.3.4/31", "cannot be"},
        {"address=0.0.0.0", "cannot be"},
        {"address=1..2.3", "cannot be"},
        {"gateway=a.b.c.d", "cannot be"},
        {"jit=FULL", "only off, baseline, full"},
        {"jit.isa=mmx", "only sse2, ssse3, avx2, avx_vnni, avx512, amx"},
        {"numerics=exactly", "only exact, fast"},
        {"jit.hot=1", "jit.warm <= jit.hot"},
        {"context=1048577", "cannot be"},
        {"queue=65", "cannot be"},
        {"threads=17", "cannot be '17', only 0-16"},
        {"threads=-1", "cannot be"},
        {"\x01\x7f=\xff", "'?\?' (test) is unknown"},
    };
    for (const Case &c : cases) {
        const Applied applied = apply(c.word);
        ASSERT_EQ(applied.sentences.size(), 1U) << c.word;
        EXPECT_NE(applied.sentences[0].find(c.sentence_part), std::string::npos)
            << c.word << ": " << applied.sentences[0];
        if (std::string_view(c.word) != "port=8 0") {
            EXPECT_EQ(applied.settings.port, 80) << c.word;
        }
        EXPECT_EQ(applied.settings.jit_hot, 128U) << c.word;
    }
}

TEST(Settings, AnEndlessWordIsCutInTheSentence) {
    const Applied applied = apply(std::string(100000, 'x'));
    ASSERT_EQ(applied.sentences.size(), 1U);
    EXPECT_LT(applied.sentences[0].size(), 256U);
}

TEST(Settings, NulEndsTheText) {
    const Applied applied = apply(std::string_view("port=81\0port=82", 15));
    EXPECT_EQ(applied.settings.port, 81);
}

TEST(Settings, TheDocumentedTableIsThisTable) {
    std::ifstream file("docs/SETTINGS.md");
    ASSERT_TRUE(file.good()) << "run from the root of the project";
    std::stringstream text;
    text << file.rdbuf();
    for (const SettingDescription &row : setting_descriptions()) {
        const std::string line = "| `" + std::string(row.key) + "` | " + std::string(row.values) +
                                 " | " + std::string(row.meaning) + " |";
        EXPECT_NE(text.str().find(line), std::string::npos) << line;
    }
}

}  // namespace
}  // namespace bareflow
