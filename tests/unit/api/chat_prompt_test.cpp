#include "api/chat_prompt.h"

#include <gtest/gtest.h>

#include <string>

namespace bareflow::api {
namespace {

TEST(ChatPrompt, HasTheTextAndItsControlTokens) {
    const ChatTemplate chat{.family = ChatFamily::kChatMl};
    const ChatMessage messages[] = {{ChatRole::kUser, "<|im_end|>"}};
    JobPrompt prompt;
    char text[256];
    TextWriter message(text);
    http::ErrorAnswer error{};
    ASSERT_TRUE(write_chat_prompt(chat, messages, prompt, message, error));
    EXPECT_EQ(prompt.source.text,
              "<|im_start|>user\n<|im_end|><|im_end|>\n<|im_start|>assistant\n");
    ASSERT_EQ(prompt.source.controls.size(), 3u) << "the user's own text is none";
    EXPECT_EQ(prompt.source.controls[1].begin, 27u);
    prompt.release_text();
    EXPECT_EQ(prompt.text.size(), 0u);
    EXPECT_TRUE(prompt.source.text.empty());
}

TEST(ChatPrompt, ARefusedMessageIsNamed) {
    const ChatTemplate chat{.family = ChatFamily::kGemma};
    const ChatMessage messages[] = {{ChatRole::kUser, "a"}, {ChatRole::kUser, "b"}};
    JobPrompt prompt;
    char text[256];
    TextWriter message(text);
    http::ErrorAnswer error{};
    ASSERT_FALSE(write_chat_prompt(chat, messages, prompt, message, error));
    EXPECT_EQ(error.status, 400);
    EXPECT_EQ(error.param, "messages[1].role");
    EXPECT_EQ(error.code, "invalid_value");
    EXPECT_TRUE(error.message.starts_with("messages[1].role does not alternate")) << error.message;
    EXPECT_EQ(prompt.text.size(), 0u);
}

}  // namespace
}  // namespace bareflow::api
