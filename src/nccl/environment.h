// NCCL's environment variables and nccl.conf files, and what they mean here.
//
//   Order    the environment; then the file NCCL_CONF_FILE names, else ~/.nccl.conf; then
//            /etc/nccl.conf. Files hold NAME=VALUE lines; # starts a comment.
//   Effect   honoured, or handed to the layers below as the GOSSAMER_* variable of the same
//            meaning, which wins where both are set. What is known to NCCL and means nothing here
//            is said once, at INFO; what is not known is left alone.
//
// Threads    Any; the files are read once, by the first call.

#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace gossamer::nccl {

// What `name` is set to, or "". An empty value counts as unset.
std::string setting(const char* name);

// Reads everything and hands on what it means; the first call of the process does it, others wait
// for it. Called by every function that makes something.
void start_once();

// The lines of one file.
std::map<std::string, std::string, std::less<>> parse_conf(std::string_view text);

// NCCL_ALGO's meaning: the name of one of our algorithms, or "", and what to say about the rest.
struct AlgorithmWish {
  std::string algorithm;
  std::vector<std::string> unknown;  // names NCCL would not know either
  bool without_effect = false;       // some of it
};
AlgorithmWish parse_algorithms(std::string_view text);
// The names in NCCL_PROTO that NCCL does not know.
std::vector<std::string> unknown_protocols(std::string_view text);
// NCCL_NET's, or ncclConfig_t::netName's, meaning as a transport's name: "" for any. False:
// unknown.
bool transport_of_network(std::string_view network, std::string* transport);

}  // namespace gossamer::nccl
