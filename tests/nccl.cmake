# Tests of libnccl.so.2: they know nccl.h and the library, nothing else of Gossamer. Each suite of a
# file is a ctest of its own, named after the acceptance check it is: NcclC01Symbols, ...
file(GLOB nccl_sources CONFIGURE_DEPENDS nccl_*_test.cc)
foreach(source ${nccl_sources})
  cmake_path(GET source STEM name)
  add_executable(${name} ${source})
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR} ${PROJECT_SOURCE_DIR}/include)
  target_link_libraries(${name} PRIVATE gossamer_nccl gossamer_warnings GTest::gtest_main
                        Threads::Threads ${CMAKE_DL_LIBS})
  target_compile_definitions(${name} PRIVATE GOSSAMER_NCCL_WITHOUT_CUDA
                             GOSSAMER_NCCL_LIBRARY="$<TARGET_FILE:gossamer_nccl>"
                             GOSSAMER_LIBRARY="$<TARGET_FILE:gossamer>")
  if(name STREQUAL "nccl_stream_test")
    target_link_libraries(${name} PRIVATE gossamer)  # whose streams these are
  endif()
  file(STRINGS ${source} lines REGEX "^TEST\\(")
  string(REGEX MATCHALL "NcclC[0-9][0-9][A-Za-z0-9]*" suites "${lines}")
  list(REMOVE_DUPLICATES suites)
  foreach(suite ${suites})
    gossamer_test(${suite} ${source} ${name} --gtest_filter=${suite}.*)
  endforeach()
endforeach()

# What a compiler and a loader have to say: one script, one ctest per check. It ends with 77 and a
# reason where the CUDA toolkit, which some checks compare with, is not installed.
file(STRINGS ${CMAKE_CURRENT_SOURCE_DIR}/nccl_library_test.py lines REGEX "^def NcclC")
string(REGEX MATCHALL "NcclC[0-9][0-9][A-Za-z0-9]*" checks "${lines}")
foreach(check ${checks})
  if(GOSSAMER_SANITIZE)
    continue()  # preloading and bare interpreters do not go with a sanitizer's run time
  endif()
  add_test(NAME ${check} COMMAND Python3::Interpreter
           ${CMAKE_CURRENT_SOURCE_DIR}/nccl_library_test.py ${check}
           --library $<TARGET_FILE:gossamer_nccl> --cc ${CMAKE_C_COMPILER}
           --cxx ${CMAKE_CXX_COMPILER})
  set_tests_properties(${check} PROPERTIES TIMEOUT ${default_timeout} SKIP_RETURN_CODE 77)
endforeach()

# The examples, as their users run them.
if(NOT GOSSAMER_SANITIZE)
  add_subdirectory(examples/nccl)
  set(launch ${MPIEXEC_EXECUTABLE} --allow-run-as-root --oversubscribe -np)
  add_test(NAME NcclExampleInitAll COMMAND nccl_init_all 4)
  add_test(NAME NcclExampleThreads COMMAND nccl_threads 4)
  set(examples NcclExampleInitAll NcclExampleThreads)
  if(TARGET nccl_processes)
    add_test(NAME NcclExampleProcesses COMMAND ${launch} 4 $<TARGET_FILE:nccl_processes>)
    add_test(NAME NcclC19HostBenchmark
             COMMAND ${launch} 2 $<TARGET_FILE:nccl_all_reduce_bench> 1048576 20)
    list(APPEND examples NcclExampleProcesses NcclC19HostBenchmark)
  endif()
  set_tests_properties(${examples} PROPERTIES TIMEOUT ${default_timeout})
endif()
